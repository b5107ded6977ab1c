"""What goes wrong here and not in HDF5."""

from contextlib import contextmanager


class LibraryError(ImportError):
    """A libhdf5 cannot use h5lake. Its files would be native ones, in silence."""


class ToolError(OSError):
    """The tool h5lake failed; the text is what it said."""


#: What h5py, numpy and zarr-python raise for a value that they cannot have. A file or store that fails raises others.
REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, NotImplementedError)
#: What HDF5 and h5lake say where there is no conversion or function, whatever h5py raises for it.
NOT_THERE = ("no appropriate function for conversion path", "no conversion between the memory and the file datatype", "is not supported yet")
#: How h5lake's own text begins, behind that of HDF5.
OWN = "(h5lake: "


def is_refusal(error: BaseException) -> bool:
    """Whether an error says that a value cannot be had, and not that a file or a store failed. h5py raises OSError where it has no
    conversion, and LookupError or ValueError where something damaged does not open."""
    said = str(error)
    if any(words in said for words in NOT_THERE):
        return True
    return isinstance(error, REFUSALS) and OWN not in said


@contextmanager
def naming(path: str):
    """Names an object in the error of a file or store that ends a copy. It keeps its number. Refusals pass as they are."""
    try:
        yield
    except Exception as error:
        if is_refusal(error) or getattr(error, "is_named", False):
            raise
        number = [error.errno] if isinstance(error, OSError) and error.errno is not None else []
        said = getattr(error, "strerror", None) or line(error)
        named = (OSError if isinstance(error, OSError) else RuntimeError)(*number, f"{path}: {said}")
        named.is_named = True
        raise named from error


def line(error: BaseException) -> str:
    """What an error says, as one line."""
    return " ".join(str(error).split()) or type(error).__name__
