"""Missing values. HDF5 and Zarr 3 name them by the attribute `_FillValue`; in Zarr 2 an array's fill value is one."""

import base64
import struct

#: The attribute that names the value for missing data of a dataset.
MISSING = "_FillValue"


def _one(value):
    """Returns the only element of an attribute."""
    import numpy as np

    if np.size(value) != 1:
        raise ValueError(f"a missing value is one element, and these are {np.size(value)}")
    return np.reshape(value, -1)[0]


def _integer(value, is_boolean):
    """Converts a number to an integer or a boolean. Only 0 and 1 are booleans: a flag of 255 is not a missing True."""
    import numpy as np

    is_number = isinstance(value, (int, float, np.number, np.bool_))
    if not is_number or not np.isfinite(value) or int(value) != value or is_boolean and value not in (0, 1):
        raise ValueError(f"{value} is no {'boolean' if is_boolean else 'integer'}, as the elements are")
    return bool(value) if is_boolean else int(value)


def encoded(value, dtype):
    """Encodes a missing value as xarray stores it in an attribute of Zarr 3: an integer is a number, a float is base64
    of a double."""
    value, kind = _one(value), "T" if dtype == "string" else dtype.kind
    if kind == "T":
        return value.decode() if isinstance(value, bytes) else str(value)
    if kind in "iub":
        return _integer(value, kind == "b")
    if kind == "f":
        return _double(value)
    if kind == "c":
        return [_double(value.real), _double(value.imag)]
    raise TypeError(f"xarray reads no missing value of the type {dtype}")


def decoded(value, dtype):
    """Decodes the missing value in an attribute of Zarr to an element of a dtype. Accepts xarray's form and plain
    numbers."""
    import numpy as np

    if dtype.kind == "S" and isinstance(value, str):
        return np.array(base64.b64decode(value, validate=True), dtype)
    if dtype.kind == "c":
        # A value that is not a list of two parts is a plain number.
        parts = value if isinstance(value, list) and len(value) == 2 else None
        return np.array(complex(*map(_number, parts)) if parts else _one(value), dtype)
    if dtype.kind == "f":
        return np.array(_number(_one(value)), dtype)
    if dtype.kind in "iub":
        value, made = _integer(_one(value), dtype.kind == "b"), np.zeros((), dtype)
        # An assignment alone would truncate a value that does not fit.
        if dtype.kind != "b" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            raise ValueError(f"{value} is no number of the type {dtype}")
        made[()] = value
        return made
    raise TypeError(f"a missing value of the type {dtype} is not known")


def of_version_2(array):
    """Returns the missing value of an array of Zarr 2, or None.

    xarray takes each fill value for a missing value, and writes null in an array without one. zarr-python by itself
    writes zero if no fill value was given. Therefore zero counts only in arrays that name their dimensions as xarray
    does, and that xarray can open."""
    fill = array.fill_value
    if fill is None or array.dtype.kind not in "iufc" or not fill and "_ARRAY_DIMENSIONS" not in array.attrs:
        return None
    return fill


def _double(value):
    return base64.b64encode(struct.pack("<d", float(value))).decode()


def _number(value):
    """Decodes a float: a number, one of JSON's words for special values, or xarray's base64."""
    if isinstance(value, str) and len(value) == 12:
        return struct.unpack("<d", base64.b64decode(value, validate=True))[0]
    return float(value)
