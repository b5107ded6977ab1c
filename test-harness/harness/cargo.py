"""Programs of the workspace that tests run. They are built before a test's clock starts, since a clean clone takes minutes for it."""

import os
import subprocess
from pathlib import Path

from . import ROOT


def folder():
    """Where cargo puts what it builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


def built_with(kind, name, program):
    """The path of a debug program, after a build of the present sources for a test or an example of the workspace (`kind`) of a name;
    an error when they do not build."""
    # As 'cargo test --workspace' builds it, so that nothing is built twice.
    subprocess.run(["cargo", "test", "--quiet", "--workspace", f"--{kind}", name, "--no-run"], cwd=ROOT, check=True)
    return folder() / "debug" / program


def tool():
    """The tool h5lake."""
    return built_with("test", "repair", "h5lake")
