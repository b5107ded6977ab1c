"""Names of containers, which may select a version or a branch, and names of files."""

#: The marks between a container's name and a version's number, time or tag, or a branch's name: the list of `names.rs`.
VERSION_MARKS = ("@v=", "@t=", "@tag=", "@branch=", "@replaced=")
#: The maximum length of a name in a folder, and the reason why a longer name is left out.
MAX_NAME_BYTES = 255
TOO_LONG = f"a folder has no names of more than {MAX_NAME_BYTES} bytes"


def without_version(name: str) -> str:
    """Returns the name of a container without the version or branch that it may select."""
    at = max(name.rfind(mark) for mark in VERSION_MARKS)
    return name[:at] if at > 0 and "/" not in name[at:] else name
