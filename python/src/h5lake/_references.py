"""What all that is made of files of references, or of containers, shares."""

import base64


def _need(*names):
    """The modules of these names; an error that names what is missing."""
    found = []
    for name in names:
        try:
            found.append(__import__(name, fromlist=["_"]))
        except ImportError as error:
            raise ImportError(f"the package {name.split('.')[0]} is missing: {error}") from None
    return found


def _bytes(value):
    if isinstance(value, str):
        return base64.b64decode(value[7:]) if value.startswith("base64:") else value.encode()
    return value
