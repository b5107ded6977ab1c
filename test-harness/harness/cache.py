"""The folder where builds, environments and packages are kept between runs."""

import os
from pathlib import Path


def folder():
    """Returns that folder. H5LAKE_BUILD_CACHE names another one."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("H5LAKE_BUILD_CACHE") or Path(base) / "h5lake")
