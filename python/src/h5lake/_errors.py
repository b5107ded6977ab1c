"""What goes wrong here and not in HDF5."""


class LibraryError(ImportError):
    """A libhdf5 cannot use h5lake. Its files would be native ones, in silence."""


class ToolError(OSError):
    """The tool h5lake failed; the text is what it said."""


#: What h5py, numpy and zarr-python raise for a value that they cannot have. A file or store that fails raises others.
REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, NotImplementedError)


def line(error: BaseException) -> str:
    """What an error says, as one line."""
    return " ".join(str(error).split()) or type(error).__name__
