"""The tool h5lake that tests run. It is built before a test's clock starts, since a clean clone takes minutes for it."""

import os
import subprocess
from pathlib import Path

from . import ROOT


def built():
    """The tool's path, after a build of the present sources; an error when they do not build."""
    # As 'cargo test --workspace' builds it, so that nothing is built twice.
    subprocess.run(["cargo", "test", "--quiet", "--workspace", "--test", "repair", "--no-run"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug" / "h5lake"
