"""Functions shared by everything that is made from files of references or from containers."""

import base64

#: The first major version of a package that has the functions used here.
OLDEST = {"zarr": 3}


def _need(*names):
    """Imports the modules of these names. ImportError names a package that is missing, or older than its first working
    version."""
    return [_module(name) for name in names]


def _module(name):
    package = name.split(".")[0]
    try:
        found = __import__(name, fromlist=["_"])
    except ImportError as error:
        raise ImportError(f"the package {package} is missing: {error}") from None
    version, oldest = getattr(found, "__version__", ""), OLDEST.get(name, 0)
    if version.split(".")[0].isdigit() and int(version.split(".")[0]) < oldest:
        raise ImportError(f"{package} {version} is too old: {package} {oldest} or later is needed (pip install '{package}>={oldest}')")
    return found


def _bytes(value):
    if isinstance(value, str):
        return base64.b64decode(value[7:]) if value.startswith("base64:") else value.encode()
    return value
