"""Copies between containers and Zarr: to versions 2 and 3, and from both. h5py and zarr-python carry them out."""

import os
import shlex
from math import prod
from pathlib import Path

from ._enable import enabled
from . import _temporary, _zarr_attributes, _zarr_chunks, _zarr_dimensions, _zarr_fill, _zarr_members, _zarr_types
from ._errors import naming
from ._left_out import LeftOut
from ._names import MAX_NAME_BYTES, TOO_LONG, without_version
from ._references import _need
from ._tool import Name
from ._zarr_members import METADATA, Members


def _switched(settings, **more):
    """Enables h5lake for a block, with these settings, or with those of HDF5_VOL_CONNECTOR, and with additional
    ones."""
    name, *pairs = shlex.split(os.environ.get("HDF5_VOL_CONNECTOR", "")) or [""]
    if name == "h5lake" and not settings:
        settings = dict(pair.partition("=")[::2] for pair in pairs)
    return enabled(**{**settings, **more})


def export_zarr(source: Name, target: Name, *, format: int = 3, **settings) -> "list[tuple[str, str]]":
    """Copies a container, or the version that `NAME@v=3` names, to a new Zarr hierarchy in a folder: groups, datasets,
    attributes, dimensions. Chunks keep their shape. Returns the paths of objects that Zarr cannot represent, each with
    a reason. When this returns, the copy is complete; after an error nothing is at `target`."""
    h5py, zarr = _need("h5py", "zarr")
    target = Path(target)
    if os.path.lexists(target):
        raise FileExistsError(f"{target}: something is there; name a target that is not there yet")
    left_out = LeftOut()
    with _temporary.folder(target, "zarr") as new:
        with _switched(settings), h5py.File(source, "r") as file:
            # A store is passed, because zarr-python takes `#`, `?` and `;` in a string for parts of a URL. The mode
            # never deletes existing data.
            root = zarr.open_group(zarr.storage.LocalStore(new), mode="w-", zarr_format=format)
            _export_group(h5py, zarr, file, root, left_out, {file.id})
        _temporary.restrict(new, _temporary.mode_of_copy(without_version(os.fsdecode(source)), target))
        new.rename(target)
    return left_out


def _zarr_name(name):
    """Returns why Zarr cannot have an object of this name; None if it can. zarr-python takes a backslash for a
    slash."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if not name.strip("."):
        return "Zarr has no such names"
    if "\\" in name:
        return "Zarr has no backslash in names"
    if name in METADATA:
        return "Zarr keeps its metadata under this name"
    if len(encoded) > MAX_NAME_BYTES:
        return TOO_LONG
    return None


def _export_group(h5py, zarr, source, target, left_out, seen):
    with naming(source.name):
        _zarr_attributes.to_zarr(h5py, source, target, left_out)
        names = list(source)
    sizes = {}
    for name in names:
        path = f"{source.name.rstrip('/')}/{name}"
        why = _zarr_name(name)
        with naming(path):
            is_object = isinstance(source.get(name, getlink=True), h5py.HardLink)
        if why:
            left_out.add_object(path, why) if is_object else left_out.append((path, why))
            continue
        if not is_object:
            left_out.append((path, "a soft or external link"))
            continue
        with naming(path):
            member = source[name]
        if isinstance(member, h5py.Group):
            if member.id in seen:
                left_out.append((path, "another link to a group"))
                continue
            seen.add(member.id)
            with naming(path):
                made = target.create_group(name)
            _export_group(h5py, zarr, member, made, left_out, seen)
        elif isinstance(member, h5py.Dataset):
            with left_out.refusals_of(path, is_object=True):
                _export_dataset(h5py, member, target, name, source, sizes, left_out)
        else:
            left_out.append((path, "a committed datatype"))


def _export_dataset(h5py, source, target, name, group, sizes, left_out):
    if source.shape is None:
        raise ValueError("it has no dataspace")
    is_old = target.metadata.zarr_format == 2
    dtype, inner = _zarr_types.of_dataset(h5py, source.dtype, target.metadata.zarr_format)
    chunks = tuple(max(1, side) for side in source.chunks or _zarr_chunks.chosen(source.shape, source.dtype.itemsize))
    names = _zarr_dimensions.names(h5py, source, inner, group, sizes, left_out)
    fill, missing = (_fill_of_version_2 if is_old else _fill_of_version_3)(h5py, source, dtype, left_out)
    target.create_array(name, shape=(*source.shape, *inner), chunks=(*chunks, *inner), dtype=dtype, fill_value=fill,
                        **({} if is_old else {"dimension_names": names}))
    try:
        # zarr-python may write an array that it cannot read, and then lists nothing of the group.
        array = target[name]
        _zarr_attributes.to_zarr(h5py, source, array, left_out, but={_zarr_fill.MISSING})
        array.attrs.update(missing)
        if is_old and names:
            array.attrs["_ARRAY_DIMENSIONS"] = list(names)
        _export_elements(h5py, source, array, dtype, chunks)
    except BaseException:
        del target[name]
        raise


def _export_elements(h5py, source, array, dtype, chunks):
    import numpy as np

    read = source.asstr() if dtype == _zarr_types.STRING else source
    parts = _zarr_chunks.stored_parts if _has_fill_of(h5py, source, array, dtype) else _zarr_chunks.parts_of
    for part in parts(source, chunks):
        # zarr-python stores the bytes of compounds unchanged.
        array[part] = read[part] if dtype == _zarr_types.STRING else np.asarray(read[part]).astype(dtype, copy=False)


def _fill_of_hdf5(h5py, dataset, dtype, left_out):
    """Returns the fill value of a dataset; zero if it is undefined, or an array of several values: Zarr has one value,
    and all elements are copied."""
    import numpy as np

    if dtype == _zarr_types.STRING:
        return ""
    zero = np.zeros((), dtype)[()]
    if dataset.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_UNDEFINED:
        return zero
    all_of = np.reshape(dataset.fillvalue, -1).astype(dtype)
    if len({one.tobytes() for one in all_of}) > 1:
        left_out.append((f"{dataset.name} (fill value)", "its elements are arrays, and it has several values"))
        return zero
    return all_of[0]


def _has_fill_of(h5py, source, array, dtype):
    """Returns whether an array and a dataset show the same value for unwritten elements."""
    import numpy as np

    if dtype == _zarr_types.STRING or array.fill_value is None:
        return False
    left_out = []
    fill = _fill_of_hdf5(h5py, source, dtype, left_out)
    return not left_out and np.asarray(array.fill_value, dtype).tobytes() == np.asarray(fill, dtype).tobytes()


def _fill_of_version_3(h5py, dataset, dtype, left_out):
    """Returns the fill value of an array of Zarr 3, and the attribute that names the missing value."""
    fill, missing = _fill_of_hdf5(h5py, dataset, dtype, left_out), {}
    if _zarr_fill.MISSING in dataset.attrs:
        with left_out.refusals_of(f"{dataset.name}@{_zarr_fill.MISSING}"):
            missing[_zarr_fill.MISSING] = _zarr_fill.encoded(dataset.attrs[_zarr_fill.MISSING], dtype)
    return fill, missing


def _fill_of_version_2(h5py, dataset, dtype, left_out):
    """Returns the fill value of an array of Zarr 2, for which xarray takes each fill value for missing data: it is null
    unless HDF5 names a missing value."""
    import numpy as np

    if _zarr_fill.MISSING in dataset.attrs:
        with left_out.refusals_of(f"{dataset.name}@{_zarr_fill.MISSING}"):
            value = dataset.attrs[_zarr_fill.MISSING]
            if dtype == _zarr_types.STRING:
                return _zarr_fill.encoded(value, dtype), {}
            return _zarr_fill.decoded(value, dtype)[()], {}
        return None, {}
    fill = _fill_of_hdf5(h5py, dataset, dtype, left_out)
    if dtype != _zarr_types.STRING and dtype.kind in "fcMm" and fill != fill:
        return fill, {}
    if dtype != _zarr_types.STRING and np.asarray(fill).tobytes().strip(b"\0"):
        left_out.append((f"{dataset.name} (fill value)", f"{fill}: readers of Zarr 2 would take it for missing data"))
    return None, {}


def import_zarr(source: Name, target: Name, **settings) -> "list[tuple[str, str]]":
    """Makes a new container of a Zarr hierarchy of version 2 or 3, in a folder or at a URL that zarr-python opens.
    Arrays keep their chunks; compressed ones become gzip with shuffle. Named dimensions become dimension scales if an
    array has their name. Returns the paths of objects that HDF5 cannot represent, each with a reason. When this
    returns, the container is complete; after an error it does not exist. A process that is killed meanwhile leaves an
    incomplete container."""
    h5py, zarr = _need("h5py", "zarr")
    root = _zarr_members.opened(zarr, _place(source))
    left_out = LeftOut()
    # The target is a container whatever its name is.
    with _switched(settings, only="*"):
        # An existing container is an error; a failed import never leaves a container.
        with _temporary.creating(_mode_of(source, target)):
            file = h5py.File(target, "w-")
        try:
            try:
                if isinstance(root, zarr.Array):
                    named = {"/data": _import_array(h5py, root, file, "data", left_out)}
                else:
                    named = _import_group(h5py, zarr, Members(root, os.fsdecode(source)), root, file, left_out)
                _zarr_dimensions.attach(file, named, left_out)
            finally:
                # Everything that is not committed yet is committed here, which may fail.
                file.close()
        except BaseException:
            _remove(target)
            raise
    return left_out


def _place(source):
    """Returns the argument for zarr-python: a URL, or a Path, because a path in a string would end at `#`, `?` or
    `;`."""
    name = os.fsdecode(source)
    return name if "://" in name else Path(name)


def _mode_of(source, target):
    """Returns the mode of a container: a user who may not read the hierarchy, or its metadata, may not read the
    container."""
    name, mode = os.fsdecode(source), 0o666
    if "://" not in name:
        for place in (Path(name), *(Path(name, document) for document in METADATA)):
            mode &= _temporary.mode_of_copy(place, Path(os.fsdecode(target)))
    return mode


def _remove(target):
    from ._tool import remove

    # The removal uses the settings of the block.
    remove(target)


def _import_group(h5py, zarr, members, source, target, left_out):
    """Copies a group. Returns the names of dimensions of each array, by path."""
    with naming(target.name):
        _zarr_attributes.to_hdf5(source, target, left_out)
    named = {}
    for name in members.names(source):
        path, made = f"{target.name.rstrip('/')}/{name}", None
        with left_out.refusals_of(path, is_object=True):
            member = _member(zarr, members, source, name, path, left_out)
            if isinstance(member, zarr.Group):
                made = target.create_group(name)
            elif member is not None:
                named[path] = _import_array(h5py, member, target, name, left_out)
        if made is not None:
            named.update(_import_group(h5py, zarr, members, member, made, left_out))
    return named


def _member(zarr, members, group, name, path, left_out):
    """Returns the member of a group under a name; None if it is not a Zarr object, which is then left out."""
    try:
        return members.opened(zarr, group, name)
    except FileNotFoundError:
        if members.is_folder(group, name):
            raise ValueError(f"it has no metadata of Zarr {group.metadata.zarr_format}") from None
        left_out.append((path, "it is nothing of Zarr"))
        return None


def _import_array(h5py, source, target, name, left_out):
    import numpy as np

    dtype, is_text = source.dtype, source.dtype.kind in "TU"
    is_text = is_text or source.dtype.kind == "O"
    stored = h5py.string_dtype() if is_text else h5py.opaque_dtype(dtype) if dtype.kind in "Mm" else dtype
    more = {}
    if source.shape and min(source.shape) > 0 and not is_text or source.shape and is_text and min(source.shape) > 0:
        chunks = tuple(min(chunk, side) for chunk, side in zip(source.chunks, source.shape))
        if prod(chunks) * dtype.itemsize < 1 << 32:
            more["chunks"] = chunks
        if (source.compressors or source.filters) and not is_text:
            more.update(compression="gzip", shuffle=True)
    fill = source.fill_value
    if not is_text and dtype.kind not in "Mm" and fill is not None and not dtype.names:
        more["fillvalue"] = fill
    made = target.create_dataset(name, source.shape, stored, **more)
    try:
        _zarr_attributes.to_hdf5(source, made, left_out, but=() if is_text else {_zarr_fill.MISSING})
        if not is_text:
            _import_missing(source, made, left_out)
        for part in _zarr_chunks.parts(source.shape, source.chunks, dtype.itemsize):
            data = np.asarray(source[part])
            made[part] = data.astype(object) if is_text else data.astype(stored) if dtype.kind in "Mm" else data
    except BaseException:
        del target[name]
        raise
    return _zarr_dimensions.of_array(source, made.name, left_out)


def _import_missing(source, made, left_out):
    """Gives a dataset the attribute `_FillValue`, of the dataset's type as in netCDF, if xarray masks elements of the
    array."""
    import numpy as np

    value = source.attrs.get(_zarr_fill.MISSING)
    meant = _zarr_fill.of_version_2(source) if source.metadata.zarr_format == 2 else None
    with left_out.refusals_of(f"{made.name}@{_zarr_fill.MISSING}"):
        if meant is not None:
            made.attrs[_zarr_fill.MISSING] = np.array(meant, source.dtype)
        elif value is not None:
            made.attrs[_zarr_fill.MISSING] = _zarr_fill.decoded(value, source.dtype)
