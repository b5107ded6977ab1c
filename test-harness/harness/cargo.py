"""Programs of the workspace that tests run. They are built before a test's time limit starts, because this takes
minutes in a clean clone."""

import os
import subprocess
from pathlib import Path

from . import ROOT


def folder():
    """Returns cargo's output folder."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


def built_with(kind, name, program):
    """Returns the path of a debug program, after a build of the present sources for the workspace's test or example
    (`kind`) of this name. Raises an error if the build fails."""
    # The build is the same as that of 'cargo test --workspace', so that nothing is built twice.
    subprocess.run(["cargo", "test", "--quiet", "--workspace", f"--{kind}", name, "--no-run"], cwd=ROOT, check=True)
    return folder() / "debug" / program


def tool():
    """Returns the path of the tool h5lake."""
    return built_with("test", "repair", "h5lake")
