"""Puts the plugin, the tool, its completion scripts, its manual pages and its viewer into the wheel, and names the platform. tools/wheel
builds them and sets the variables."""

import os
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BinaryHook(BuildHookInterface):
    def initialize(self, version, build_data):
        built = os.environ.get("H5LAKE_BUILD_BINARIES")
        if not built:
            raise RuntimeError("build the wheel with 'make wheel': H5LAKE_BUILD_BINARIES does not name the built files")
        plugin, tool = Path(built) / "libh5lake.so", Path(built) / "h5lake"
        build_data["pure_python"] = False
        build_data["tag"] = os.environ["H5LAKE_BUILD_TAG"]
        build_data["force_include"][str(plugin)] = "h5lake/plugin/libh5lake.so"
        header = Path(self.root).parent / "connector" / "reader" / "include" / "h5lake_reader.h"
        build_data["force_include"][str(header)] = "h5lake/include/h5lake_reader.h"
        build_data["shared_scripts"][str(tool)] = "h5lake"
        build_data["shared_data"][str(Path(self.root).parent / "packaging" / "magic" / "h5lake")] = "share/h5lake/magic"
        for file in (Path(built).parent / "viewer").iterdir():
            build_data["force_include"][str(file)] = f"h5lake/viewer/{file.name}"
        # The folders in which shells and `man` search for the files of a program that is installed below the same prefix.
        texts = Path(built).parent / "share"
        for file in filter(Path.is_file, texts.rglob("*")):
            build_data["shared_data"][str(file)] = f"share/{file.relative_to(texts)}"
