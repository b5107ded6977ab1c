"""Attributes between HDF5 and Zarr, which keeps them as JSON."""

import json

from . import _zarr_dimensions

#: Attributes by which HDF5 keeps dimension scales.
HIDDEN = {"DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_NCProperties",
          "_ARRAY_DIMENSIONS"}
#: The same, of scales alone: others may have attributes of these names.
OF_SCALES = {"CLASS", "NAME"}


def _is_of_scale(h5py, object, name):
    """Whether an attribute is one by which HDF5 marks a dimension scale."""
    return name in OF_SCALES and isinstance(object, h5py.Dataset) and h5py.h5ds.is_scale(object.id)


def _is_hidden(h5py, object, name):
    """Whether Zarr has something else in the place of an attribute."""
    is_labels = name == _zarr_dimensions.LABELS and isinstance(object, h5py.Dataset) and _zarr_dimensions.labels(object) is not None
    return name in HIDDEN or is_labels or _is_of_scale(h5py, object, name)


def to_zarr(h5py, source, target, left_out, but=()):
    import numpy as np

    made = {}
    for name in source.attrs:
        if name in but or _is_hidden(h5py, source, name):
            continue
        try:
            name.encode()
            value = source.attrs[name]
            if isinstance(value, h5py.Empty):
                raise ValueError("it has no elements")
            value = value.decode() if isinstance(value, bytes) else np.asarray(value).tolist() if not isinstance(value, str) else value
            if isinstance(value, list):
                value = json.loads(json.dumps(value, default=lambda item: item.decode() if isinstance(item, bytes) else _refuse(item)))
            json.dumps(value)
            made[name] = value
        except (TypeError, ValueError, OSError) as error:
            left_out.append((f"{source.name}@{name}", str(error)))
    target.attrs.update(made)


def _refuse(item):
    raise TypeError(f"JSON has no values of the type {type(item).__name__}")


def to_hdf5(source, target, left_out, but=()):
    for name, value in source.attrs.items():
        if name in HIDDEN or name in but:
            continue
        try:
            if value is None or isinstance(value, dict):
                raise TypeError("HDF5 has no such values")
            target.attrs[name] = value
        except (TypeError, ValueError) as error:
            left_out.append((f"{target.name}@{name}", str(error)))
