"""Zarr types for the types of HDF5 elements."""

#: Zarr's type of strings of variable length.
STRING = "string"


def of_dataset(h5py, dtype, format):
    """Returns the type of an array for a dataset of h5py's dtype, and the dimensions of an element that is an array:
    Zarr has additional dimensions there. Raises `ValueError` with the reason if Zarr has no such type."""
    import numpy as np

    base, inner = dtype.subdtype or (dtype, ())
    text = h5py.check_string_dtype(base)
    if base.kind == "O" and (text is None or inner):
        raise ValueError("Zarr has no references and no sequences of variable length" if text is None else
                         "arrays of strings of variable length are not copied")
    if base.kind == "O":
        return STRING, inner
    # The metadata that h5py attaches to its dtypes is removed. zarr-python records one byte order for each array of
    # Zarr 3, but none for members.
    return _compound(base, format, "") if base.names else np.dtype(base.str), inner


def _compound(dtype, format, path):
    """Returns a compound without gaps. In Zarr 3 all members are little-endian, as readers assume."""
    import numpy as np

    members = []
    for name in dtype.names:
        of, where = dtype[name], f"{path}{name}"
        if of.subdtype or of.kind == "O":
            raise ValueError(f"zarr-python has no members that are arrays, references or of variable length ({where})")
        if of.names and format == 2:
            raise ValueError(f"zarr-python has no members that are compounds in Zarr 2 ({where})")
        of = _compound(of, format, f"{where}.") if of.names else np.dtype(of.str)
        members.append((name, of if format == 2 else of.newbyteorder("<")))
    return np.dtype(members)
