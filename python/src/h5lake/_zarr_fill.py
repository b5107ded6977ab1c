"""Missing values. HDF5 and Zarr 3 name them by the attribute `_FillValue`, in Zarr 2 an array's fill value is one."""

import base64
import struct

#: The attribute that says which value of a dataset stands for missing data.
MISSING = "_FillValue"


def _one(value):
    """The only element of an attribute."""
    import numpy as np

    if np.size(value) != 1:
        raise ValueError(f"a missing value is one element, and these are {np.size(value)}")
    return np.reshape(value, -1)[0]


def _integer(value, is_boolean):
    """A number as an integer, or as a boolean. Only 0 and 1 are booleans: a flag that says 255 is no missing True."""
    import numpy as np

    is_number = isinstance(value, (int, float, np.number, np.bool_))
    if not is_number or not np.isfinite(value) or int(value) != value or is_boolean and value not in (0, 1):
        raise ValueError(f"{value} is no {'boolean' if is_boolean else 'integer'}, as the elements are")
    return bool(value) if is_boolean else int(value)


def encoded(value, dtype):
    """A missing value as xarray keeps it in an attribute of Zarr 3: an integer is a number, a float is base64 of a double."""
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
    """The missing value that an attribute of Zarr holds, as an element of a dtype. xarray's form is read, and plain numbers."""
    import numpy as np

    if dtype.kind == "S" and isinstance(value, str):
        return np.array(base64.b64decode(value, validate=True), dtype)
    if dtype.kind == "c":
        # What is no list of two parts is a number as it is.
        parts = value if isinstance(value, list) and len(value) == 2 else None
        return np.array(complex(*map(_number, parts)) if parts else _one(value), dtype)
    if dtype.kind == "f":
        return np.array(_number(_one(value)), dtype)
    if dtype.kind in "iub":
        value, made = _integer(_one(value), dtype.kind == "b"), np.zeros((), dtype)
        # Not by assignment alone, which cuts off what does not fit.
        if dtype.kind != "b" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            raise ValueError(f"{value} is no number of the type {dtype}")
        made[()] = value
        return made
    raise TypeError(f"a missing value of the type {dtype} is not known")


def of_version_2(array):
    """The missing value of an array of Zarr 2, or None.

    xarray takes each fill value for one, and writes null where there is none. zarr-python by itself writes zero where nothing was said:
    so zero counts in arrays alone that name their dimensions as xarray does, and that xarray can open."""
    fill = array.fill_value
    if fill is None or array.dtype.kind not in "iufc" or not fill and "_ARRAY_DIMENSIONS" not in array.attrs:
        return None
    return fill


def _double(value):
    return base64.b64encode(struct.pack("<d", float(value))).decode()


def _number(value):
    """A float: a number, one of JSON's words for others, or xarray's base64."""
    if isinstance(value, str) and len(value) == 12:
        return struct.unpack("<d", base64.b64decode(value, validate=True))[0]
    return float(value)
