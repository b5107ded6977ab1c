"""Names of dimensions, and attributes as netCDF-4 and xarray understand them."""

import os

import numpy as np

from ._reader_object import Empty

#: Attributes by which netCDF-4 and HDF5 store dimensions.
_HIDDEN = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_Netcdf4Dimid", "_Netcdf4Coordinates",
           "_nc3_strict", "_NCProperties"}
#: The name of a dimension scale that is no variable begins with these words.
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


def attributes(found) -> dict:
    """Returns the attributes that xarray shows: arrays of one element are scalars, and bytes are text."""
    made = {}
    for name in found.attrs:
        if name in _HIDDEN:
            continue
        value = found.attrs[name]
        if isinstance(value, Empty):
            value = ""
        if isinstance(value, np.ndarray) and value.size == 1 and value.ndim:
            value = value.reshape(-1)[0]
        made[name] = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return made


def _is_scale(dataset) -> bool:
    return dataset.attrs.get("CLASS") == b"DIMENSION_SCALE"


def own_name(dataset) -> str:
    return os.path.basename(dataset.name)


def dimensions(dataset) -> "tuple[str, ...]":
    """Returns the names of a dataset's dimensions: of the scales attached to it, or phony names."""
    if dataset.ndim == 1 and _is_scale(dataset):
        return (own_name(dataset),)
    scales = dataset.attrs.get("DIMENSION_LIST")
    names = []
    for n, size in enumerate(dataset.shape):
        attached = scales[n] if scales is not None and len(scales[n]) else None
        name = os.path.basename(str(attached[0])) if attached is not None else None
        while not name or name in names:
            name = f"phony_dim_{size}" if not name else f"{name}_{n}"
        names.append(name)
    return tuple(names)


def is_variable(dataset) -> bool:
    """Returns whether a dataset is a variable, and not a dimension alone."""
    return not (_is_scale(dataset) and bytes(dataset.attrs.get("NAME", b"")).startswith(_NO_VARIABLE))
