"""What goes wrong here and not in HDF5."""


class LibraryError(ImportError):
    """A libhdf5 cannot use h5lake. Its files would be native ones, in silence."""


class ToolError(OSError):
    """The tool h5lake failed; the text is what it said."""
