"""Names of containers, which may ask for a version or a branch of one, and names of files."""

#: What stands between a container's name and a version's number, time or tag, or a branch's name: the list of `names.rs`.
VERSION_MARKS = ("@v=", "@t=", "@tag=", "@branch=", "@replaced=")
#: The longest name in a folder, and why a longer one is left out.
MAX_NAME_BYTES = 255
TOO_LONG = f"a folder has no names of more than {MAX_NAME_BYTES} bytes"


def without_version(name: str) -> str:
    """The name of a container, of a name that may ask for a version or a branch of it."""
    at = max(name.rfind(mark) for mark in VERSION_MARKS)
    return name[:at] if at > 0 and "/" not in name[at:] else name
