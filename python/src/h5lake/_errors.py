"""Errors of h5lake itself, as opposed to those of HDF5."""

from contextlib import contextmanager


class LibraryError(ImportError):
    """A libhdf5 cannot use h5lake. It would silently create native files."""


class ToolError(OSError):
    """The tool h5lake failed; the text is its message."""


#: The exceptions of h5py, numpy and zarr-python for a value that they cannot represent. A failing file or store raises
#: exceptions of other types.
REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, NotImplementedError)
#: The messages of HDF5 and h5lake for a missing conversion or function, whatever exception h5py raises.
NOT_THERE = ("no appropriate function for conversion path", "no conversion between the memory and the file datatype", "is not supported yet")
#: The start of h5lake's own text, after that of HDF5.
OWN = "(h5lake: "


def is_refusal(error: BaseException) -> bool:
    """Returns whether an error says that a value cannot be represented, and not that a file or a store failed. h5py
    raises OSError for a missing conversion, and LookupError or ValueError for a damaged object that cannot be
    opened."""
    said = str(error)
    if any(words in said for words in NOT_THERE):
        return True
    return isinstance(error, REFUSALS) and OWN not in said


@contextmanager
def naming(path: str):
    """Adds the name of an object to the error of a file or store that ends a copy. The error number is preserved.
    Refusals are not changed."""
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
    """Returns the text of an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__
