"""Virtual datasets: docs/format.md, "Messages", and the description of H5Pset_virtual in HDF5's reference manual."""

import os

import hdf5_selections
import numpy as np
from hdf5_types import Unreadable, element
from ledger import Damaged


class Mapping:
    """Maps elements of a source to elements of the virtual dataset."""

    def __init__(self, message, one):
        texts = one(message, 1, b""), one(message, 2, b"")
        self.file, self.dataset = (text.decode(errors="surrogateescape") for text in texts)
        self.source, self.place = (hdf5_selections.dataspace(one(message, n, b"")) for n in (3, 4))

    def is_numbered(self):
        return any("%b" in name.replace("%%", "") for name in (self.file, self.dataset))

    def names(self, number):
        """Returns (file, dataset) of a block. In names a percent sign is doubled."""
        return tuple("%".join(part.replace("%b", str(number)) for part in name.split("%%")) for name in (self.file, self.dataset))

    def shown(self, shape, source_of):
        """Yields (source, coordinates in it, coordinates in the virtual dataset) of all parts. A missing source
        yields nothing."""
        if self.is_numbered():
            for number in range(blocks_of(self.place, shape)):
                source = source_of(*self.names(number))
                if source is not None:
                    yield source, self.source.coordinates(source.space.shape), self.place.numbered(number)
            return
        source = source_of(*self.names(0))
        if source is None:
            return
        # If both selections are unlimited, the shorter one decides.
        limit = min((len(selection.along(selection.endless_dimension(), extent[selection.endless_dimension()]))
                     for selection, extent in ((self.source, source.space.shape), (self.place, shape))
                     if selection.endless_dimension() is not None), default=None)
        yield source, self.source.coordinates(source.space.shape, limit), self.place.coordinates(shape, limit)


def blocks_of(place, shape):
    """Returns how many blocks of an unlimited selection begin in a shape."""
    endless = place.endless_dimension()
    if endless is None:
        return 1
    start, stride, *_ = place.regular[endless]
    return max(0, -(-(shape[endless] - start) // stride))


def read(dataset, mappings, open_container):
    """Returns all elements. `open_container` opens the file of a source, or returns None."""
    shape = dataset.space.shape
    if dataset.type.type.plain():
        values = dataset.type.values(dataset.fill * dataset.space.count(), shape, None).copy()
    else:
        values = np.empty(shape, object)
        filling = element(dataset.type.type, dataset.fill, dataset.container.blob)
        for at in np.ndindex(shape):
            values[at] = filling
    read_before = {}

    def source_of(file, name):
        if (file, name) not in read_before:
            container = dataset.container if file == "." else open_container(file)
            read_before[file, name] = container.find(name) if container else None
        return read_before[file, name]

    contents = {}
    for mapping in mappings:
        for source, there, here in mapping.shown(shape, source_of):
            if id(source) not in contents:
                contents[id(source)] = source.read()
            show(values, contents[id(source)], there, here, shape)
    return values


def show(values, content, there, here, shape):
    if len(there) != len(here):
        raise Damaged(f"{len(there)} elements of a source show at {len(here)}")
    inside = (here < np.array(shape)).all(axis=1) & (there < np.array(content.shape[:there.shape[1]])).all(axis=1)
    if values.dtype != object and content.dtype == object:
        raise Unreadable("a source of another class")
    for to, from_ in zip(here[inside].tolist(), there[inside].tolist()):
        values[tuple(to)] = content[tuple(from_)]


def beside(folder, file):
    """Returns the path of a source's file: the given name if the file exists, or else the same name beside the
    container."""
    return next((path for path in (file, os.path.join(folder, os.path.basename(file))) if os.path.exists(path)), None)
