"""Types of HDF5's elements as Zarr has them."""

#: Zarr's type of strings of variable length.
STRING = "string"


def of_dataset(h5py, dtype, format):
    """The type of an array for a dataset of h5py's dtype, and the dimensions of an element that is an array: Zarr has more dimensions
    there. `ValueError` says why Zarr has none."""
    import numpy as np

    base, inner = dtype.subdtype or (dtype, ())
    text = h5py.check_string_dtype(base)
    if base.kind == "O" and (text is None or inner):
        raise ValueError("Zarr has no references and no sequences of variable length" if text is None else
                         "arrays of strings of variable length are not copied")
    if base.kind == "O":
        return STRING, inner
    # Without what h5py notes beside its dtypes. zarr-python notes one order of bytes for each array of Zarr 3, but none of members.
    return _compound(base, format, "") if base.names else np.dtype(base.str), inner


def _compound(dtype, format, path):
    """A compound without gaps. In Zarr 3 all members have their lowest byte first, which readers take for granted."""
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
