"""Attributes between HDF5 and Zarr, which keeps them as JSON."""

import json

from . import _zarr_dimensions

#: Attributes in which HDF5 stores dimension scales.
HIDDEN = {"DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_NCProperties",
          "_ARRAY_DIMENSIONS"}
#: Further attributes of dimension scales. Other objects may have attributes of these names for their own purposes.
OF_SCALES = {"CLASS", "NAME"}


def _is_of_scale(h5py, object, name):
    """Returns whether an attribute is one with which HDF5 marks a dimension scale."""
    return name in OF_SCALES and isinstance(object, h5py.Dataset) and _zarr_dimensions.is_scale(h5py, object)


def _is_hidden(h5py, object, name):
    """Returns whether Zarr stores the content of an attribute elsewhere."""
    is_labels = name == _zarr_dimensions.LABELS and isinstance(object, h5py.Dataset) and _zarr_dimensions.labels(object) is not None
    return name in HIDDEN or is_labels or _is_of_scale(h5py, object, name)


def to_zarr(h5py, source, target, left_out, but=()):
    """Copies the attributes of an HDF5 object to a Zarr object. Values that JSON cannot represent go to `left_out`."""
    made = {}
    for name in source.attrs:
        if name in but or _is_hidden(h5py, source, name):
            continue
        with left_out.refusals_of(f"{source.name}@{name}"):
            name.encode()
            made[name] = _as_json(h5py, source.attrs[name])
    target.attrs.update(made)


def _as_json(h5py, value):
    """Returns an attribute's value in JSON's types. Compounds and times have none: numpy would make lists and integers
    of them."""
    import numpy as np

    if isinstance(value, h5py.Empty):
        raise ValueError("it has no elements")
    dtype = np.asarray(value).dtype
    if dtype.names or dtype.kind in "mMV":
        raise TypeError(f"JSON has no values of the type {dtype}")
    if not isinstance(value, (str, bytes)):
        value = np.asarray(value).tolist()
    text = json.dumps(value, default=_as_text, ensure_ascii=False)
    # A text that is not UTF-8 cannot be encoded.
    text.encode()
    return json.loads(text)


def _as_text(value):
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"JSON has no values of the type {type(value).__name__}")


def to_hdf5(source, target, left_out, but=()):
    """Copies the attributes of a Zarr object to an HDF5 object. Values that HDF5 cannot represent, or only with a
    change, go to `left_out`."""
    is_array = hasattr(target, "shape")
    for name, value in source.attrs.items():
        path = f"{target.name}@{name}"
        if is_array and _is_state(name, value):
            left_out.append((path, _zarr_dimensions.STATE))
        elif name not in HIDDEN and name not in but:
            with left_out.refusals_of(path):
                if not name or "\0" in name:
                    raise ValueError("HDF5 has no such names of attributes")
                target.attrs[name] = _as_hdf5(value)


def _is_state(name, value):
    """Returns whether HDF5 would take an array's attribute for its own. HDF5 reads such an attribute into a buffer for
    its own form, whatever the form is: several texts would overwrite the memory after that for one."""
    is_of_lists = name in (_zarr_dimensions.LABELS, _zarr_dimensions.LIST, "REFERENCE_LIST")
    return is_of_lists or name in OF_SCALES and not isinstance(value, str)


def _as_hdf5(value):
    """Returns a JSON value as h5py accepts it. Integers stay integers with the same value."""
    import numpy as np

    if value is None or isinstance(value, dict):
        raise TypeError("HDF5 has no such values")
    numbers = list(_leaves(value))
    if not isinstance(value, list) or not any(type(number) is int for number in numbers):
        return value
    if all(type(number) is int for number in numbers):
        return np.array(value, "i8" if min(numbers) < 0 or max(numbers) < 1 << 63 else "u8")
    for number in numbers:
        if type(number) is int and any(type(other) is float for other in numbers) and float(number) != number:
            raise ValueError(f"{number} stands beside floats, and is none")
    return value


def _leaves(value):
    """Returns the elements of nested lists."""
    if not isinstance(value, list):
        yield value
        return
    for part in value:
        yield from _leaves(part)
