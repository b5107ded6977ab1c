"""Names of dimensions between HDF5 and Zarr: dimension scales if there are any, and labels otherwise."""

import re

from ._errors import is_refusal, naming

#: The attributes in which HDF5 stores the labels of a dataset's dimensions, and references to their scales.
LABELS, LIST = "DIMENSION_LABELS", "DIMENSION_LIST"
#: The reason why an array does not keep such an attribute.
STATE = "HDF5 keeps scales and labels of dimensions under this name"
#: The names of dimensions that have no name of their own: ours, and xarray's.
NAMELESS = re.compile(r"(phony_)?dim_\d+")


def labels(dataset):
    """Returns the labels of a dataset's dimensions, empty for a dimension without a label; None if its attribute of
    that name has another form."""
    if LABELS not in dataset.attrs:
        return [""] * dataset.ndim
    try:
        found = dataset.attrs[LABELS]
    except Exception as error:
        if not is_refusal(error):
            raise
        return None
    if getattr(found, "shape", None) != (dataset.ndim,) or found.dtype.kind not in "OSUT":
        return None
    return [label.decode(errors="replace") if isinstance(label, bytes) else str(label) for label in found]


def is_scale(h5py, dataset):
    """Returns whether HDF5 takes a dataset for a scale. HDF5's own function reads an attribute of any number of texts
    into a buffer for one."""
    if "CLASS" not in dataset.attrs:
        return False
    found = dataset.attrs.get_id("CLASS")
    of = found.get_type()
    is_text = isinstance(of, h5py.h5t.TypeStringID) and not of.is_variable_str() and of.get_strpad() == h5py.h5t.STR_NULLTERM
    return is_text and of.get_size() == 16 and found.shape == () and dataset.attrs["CLASS"] == b"DIMENSION_SCALE"


def _scale(h5py, dataset, n, left_out):
    """Returns the name of the first scale of a dimension; empty without one. The scale is searched here, because HDF5's
    own function gives no reason for a failure."""
    try:
        references = dataset.attrs[LIST][n] if LIST in dataset.attrs else ()
        if not len(references):
            return ""
        if not isinstance(references[0], h5py.Reference):
            raise TypeError("it is no reference")
        return (dataset.file[references[0]].name or "").rsplit("/", 1)[-1]
    except Exception as error:
        # HDF5 leaves a deleted scale in the list of attached scales.
        if not is_refusal(error) and "there is no object" not in str(error):
            raise
        left_out.append((f"{dataset.name}@{LIST}", f"the scale of dimension {n} cannot be opened; it may have been deleted"))
        return ""


def names(h5py, dataset, inner, group, sizes, left_out):
    """Returns the names of a dataset's dimensions, or None without any. `inner` are the dimensions of elements that are
    arrays. `sizes` has the names of its group: xarray refuses a name of two sizes, or of a dataset that is not a scale
    of it. A dimension that cannot be named goes to `left_out`."""
    path, own, shape = dataset.name, dataset.name.rsplit("/", 1)[-1], (*dataset.shape, *inner)
    if dataset.ndim == 1 and is_scale(h5py, dataset):
        sizes[own] = dataset.shape[0]
        return _all_named([own] + [None] * len(inner), shape, sizes)
    found = []
    for n, (size, label) in enumerate(zip(dataset.shape, labels(dataset) or [""] * dataset.ndim)):
        scale = _scale(h5py, dataset, n, left_out)
        name = scale or label
        if scale and sizes.get(scale, size) != size:
            left_out.append((f"{path}@{LIST}", f"the name {scale} has another size in this group"))
            name = ""
        if label and label != name:
            left_out.append((f"{path}@{LABELS}", f"the label {label}: the dimension has the name of its scale"))
        elif label and not scale and (label in group and (label, dataset.ndim) != (own, 1) or label in found or sizes.get(label, size) != size):
            left_out.append((f"{path}@{LABELS}", f"the label {label}: it names something else in this group"))
            name = ""
        found.append(name or None)
        if name:
            sizes[name] = size
    return _all_named(found + [None] * len(inner), shape, sizes) if any(found) else None


def _all_named(found, shape, sizes):
    """Returns the names with one for each dimension, because xarray takes all dimensions without a name for the same
    dimension."""
    made = []
    for n, (name, size) in enumerate(zip(found, shape)):
        while name is None:
            name, n = _free(f"dim_{n}", size, sizes, made), n + 1
        sizes[name] = size
        made.append(name)
    return tuple(made)


def _free(name, size, sizes, made):
    return name if sizes.get(name, size) == size and name not in made else None


def of_array(array, path, left_out):
    """Returns the names of the dimensions of a Zarr array, empty without any. `_ARRAY_DIMENSIONS` may be any JSON: a
    value that is not a list of one name per dimension goes to `left_out`."""
    given = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not given:
        return ()
    if not isinstance(given, (list, tuple)) or len(given) != array.ndim or not all(map(_is_name, given)):
        left_out.append((f"{path}@_ARRAY_DIMENSIONS", "it is no list of a name for each dimension"))
        return ()
    return tuple(given)


def _is_name(name):
    """Returns whether HDF5 can have a name of a dimension. JSON has texts that are not UTF-8."""
    return name is None or isinstance(name, str) and "\0" not in name and not re.search("[\ud800-\udfff]", name)


def attach(file, named, left_out):
    """Makes dimension scales of arrays that have the name of their own dimension, and attaches them. Other names become
    labels."""
    scales = {path for path, given in named.items() if len(given) == 1 and path.rsplit("/", 1)[-1] == given[0]}
    for path in sorted(scales):
        with naming(path):
            _make_room(file[path], ("CLASS", "NAME"), left_out)
            file[path].make_scale(named[path][0])
    for path in (path for path, given in named.items() if any(given) and path not in scales):
        with naming(path):
            _attach_to(file, path, named[path], scales, left_out)


def _attach_to(file, path, given, scales, left_out):
    """Gives the dimensions of an array their scales, or labels."""
    dataset = file[path]
    for n, name in enumerate(given):
        found = _nearest(file, path, name, dataset.shape[n], scales) if name else None
        if found:
            # HDF5 attaches no scale to a dataset of some classes, or with a CLASS attribute that it cannot read.
            _make_room(dataset, ("CLASS",), left_out)
            dataset.dims[n].attach_scale(found)
        elif name and not NAMELESS.fullmatch(name):
            dataset.dims[n].label = name


def _nearest(file, path, name, size, scales):
    """Returns the scale of a name and size in the group of an array, or in the nearest group above."""
    group = path.rsplit("/", 1)[0]
    while "/" not in name:
        if f"{group}/{name}" in scales and file[f"{group}/{name}"].shape == (size,):
            return file[f"{group}/{name}"]
        if not group:
            break
        group = group.rsplit("/", 1)[0]
    return None


def _make_room(dataset, names, left_out):
    """Removes attributes with names that HDF5 needs for its own attributes."""
    for name in names:
        if name in dataset.attrs:
            del dataset.attrs[name]
            left_out.append((f"{dataset.name}@{name}", STATE))
