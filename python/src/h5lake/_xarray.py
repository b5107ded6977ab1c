"""The xarray backend: xarray.open_dataset("run.nc", engine="h5lake") reads netCDF-4 and HDF5 data in containers, in several
threads and without libhdf5."""

import os

import numpy as np
import xarray
from xarray.backends import AbstractDataStore, BackendArray, BackendEntrypoint
from xarray.backends.store import StoreBackendEntrypoint
from xarray.core import indexing

from . import _reader_objects
from ._names import without_version
from ._reader_dimensions import attributes, dimensions, is_variable, own_name

#: The first bytes of a container in a file.
_MAGIC = b"\x89HDF\r\n\x1a\n\x4ch5lake"


class _Elements(BackendArray):
    """The elements of a variable, which are read when they are needed."""

    def __init__(self, dataset):
        self._dataset, self.shape = dataset, dataset.shape
        self._is_text = (dataset.dtype.metadata or {}).get("vlen") in (str, bytes)
        self.dtype = dataset.dtype

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key):
        forward, back = [], []
        for one, size in zip(key, self.shape):
            if isinstance(one, slice) and (one.step or 1) < 0:
                chosen = range(*one.indices(size))
                forward.append(slice(chosen[-1], chosen[0] + 1, -chosen.step) if chosen else slice(0, 0))
                back.append(slice(None, None, -1))
            else:
                forward.append(one)
                back.extend([slice(None)] if isinstance(one, slice) else [])
        source = self._dataset.asstr(errors="surrogateescape") if self._is_text else self._dataset
        return np.asarray(source[tuple(forward)])[tuple(back)]


class _Store(AbstractDataStore):
    """The variables and attributes of a group."""

    def __init__(self, group):
        self._group = group

    def get_variables(self):
        return {own_name(found): self._variable(found) for found in self._datasets()}

    def _datasets(self):
        for name in self._group:
            found = self._group.get(name)
            if isinstance(found, _reader_objects.Dataset) and found.shape is not None:
                if is_variable(found):
                    yield found

    def _variable(self, dataset):
        data = indexing.LazilyIndexedArray(_Elements(dataset))
        names, chunks = dimensions(dataset), dataset.chunks
        encoding = {"source": dataset.file.filename, "original_shape": dataset.shape, "dtype": dataset.dtype}
        if chunks is not None:
            encoding |= {"chunksizes": chunks, "preferred_chunks": dict(zip(names, chunks))}
        encoding |= {"zlib": dataset.compression == "gzip", "complevel": dataset.compression_opts or 0,
                     "shuffle": dataset.shuffle, "fletcher32": dataset.fletcher32}
        return xarray.Variable(names, data, attributes(dataset), encoding)

    def get_attrs(self):
        return attributes(self._group)

    def get_dimensions(self):
        return {name: size for found in self._datasets() for name, size in zip(dimensions(found), found.shape)}

    def get_encoding(self):
        unlimited = {name for found in self._datasets() for name, most in zip(dimensions(found), found.maxshape) if most is None}
        return {"unlimited_dims": unlimited}

    def close(self):
        self._group.file.close()


class H5lakeBackend(BackendEntrypoint):
    """Opens containers. `group` is the path of a group; `settings` are those of `h5lake.open`."""

    description = "Open containers of h5lake (netCDF-4 and HDF5 data), in several threads and without libhdf5"
    open_dataset_parameters = ("filename_or_obj", "mask_and_scale", "decode_times", "concat_characters", "decode_coords",
                               "drop_variables", "use_cftime", "decode_timedelta", "group", "settings")

    def open_dataset(self, filename_or_obj, *, mask_and_scale=True, decode_times=True, concat_characters=True, decode_coords=True,
                     drop_variables=None, use_cftime=None, decode_timedelta=None, group=None, settings=None):
        file = _reader_objects.open(filename_or_obj, **(settings or {}))
        try:
            found = file[group or "/"]
        except BaseException:
            file.close()
            raise
        return StoreBackendEntrypoint().open_dataset(
            _Store(found), mask_and_scale=mask_and_scale, decode_times=decode_times, concat_characters=concat_characters,
            decode_coords=decode_coords, drop_variables=drop_variables, use_cftime=use_cftime, decode_timedelta=decode_timedelta)

    def open_groups_as_dict(self, filename_or_obj, *, group=None, settings=None, **decoding):
        """Opens a group and all groups below: a dataset for each path."""
        top = "/" + (group or "").strip("/")
        with _reader_objects.open(filename_or_obj, **(settings or {})) as file:
            paths = [""]
            file[top].visititems(lambda path, found: paths.append(path) if isinstance(found, _reader_objects.Group) else None)
        opened = {}
        for path in paths:
            inner = f"{top.rstrip('/')}/{path}".rstrip("/") or "/"
            opened["/" + path] = self.open_dataset(filename_or_obj, group=inner, settings=settings, **decoding)
        return opened

    def open_datatree(self, filename_or_obj, **options):
        return xarray.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))

    def guess_can_open(self, filename_or_obj) -> bool:
        """Returns whether a local file is a container: its first bytes are those of one."""
        try:
            with open(without_version(os.fspath(filename_or_obj)), "rb") as file:
                return file.read(len(_MAGIC)) == _MAGIC
        except (OSError, TypeError):
            return False
