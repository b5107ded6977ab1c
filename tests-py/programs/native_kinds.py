"""Native files of random kinds, and their content as programs see it, for tests that show the same content in
another way."""

import hashlib

import h5py
import hdf5plugin
import numpy as np
from h5py import h5d, h5p

TYPES = [
    np.dtype("<i4"), np.dtype(">i2"), np.dtype("<f8"), np.dtype(">f4"), np.dtype("u1"), np.dtype("<f2"), np.dtype("?"), np.dtype("S7"),
    np.dtype("<c16"), np.dtype("V5"), np.dtype([("a", "<f4"), ("b", ">i8"), ("c", "S3")]),
    np.dtype({"names": ["x", "y"], "formats": ["<i2", "<f8"], "offsets": [3, 8], "itemsize": 20}), np.dtype([("m", "<i2", (2, 3)), ("n", "u1")]),
    h5py.enum_dtype({"red": 1, "green": 7}, "i2"),
]


def filters(rng):
    """Returns arguments that choose filters, or no arguments for no filters."""
    return [
        {}, {}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"shuffle": True, "fletcher32": True},
        {"compression": "lzf"}, {"compression": "gzip", "compression_opts": 9, "shuffle": True, "fletcher32": True},
        dict(hdf5plugin.Zstd()), dict(hdf5plugin.Blosc(cname="lz4")), dict(hdf5plugin.Bitshuffle()), dict(hdf5plugin.LZ4()),
    ][rng.integers(11)]


def elements(rng, dtype, shape):
    base, inner = dtype.subdtype or (dtype, ())
    count = int(np.prod(tuple(shape) + inner, dtype=np.int64))
    if base.kind == "b":
        data = rng.integers(0, 2, count).astype(base)
    elif h5py.check_enum_dtype(base):
        data = rng.choice([1, 7], count).astype(base)
    elif base.kind in "iu":
        data = rng.integers(0, 50, count).astype(base)
    elif base.kind in "fc":
        data = rng.normal(size=count).astype(base)
    else:
        # Returns bytes in which no float is NaN.
        data = np.frombuffer(rng.integers(1, 60, count * base.itemsize, "u1").tobytes(), base)
    return data.reshape(tuple(shape) + inner)


def dataset(f, rng, name):
    """Creates one dataset of a random kind."""
    dtype = TYPES[rng.integers(len(TYPES))]
    rank = int(rng.integers(0, 4))
    shape = tuple(int(n) for n in rng.integers(1, 40, rank))
    kind = rng.choice(["contiguous", "chunked", "chunked", "chunked", "compact", "empty"])
    fill = elements(rng, dtype, ()) if rng.integers(2) and dtype.subdtype is None else None
    if kind == "empty" or (rank == 0 and kind == "chunked"):
        f.create_dataset(name, shape, dtype, fillvalue=fill)
        return
    if kind == "compact":
        compact = h5p.create(h5p.DATASET_CREATE)
        compact.set_layout(h5d.COMPACT)
        shape = shape[:1]
        f.create_dataset(name, data=elements(rng, dtype, shape), dtype=dtype, dcpl=compact)
        return
    if kind == "contiguous":
        f.create_dataset(name, data=elements(rng, dtype, shape), dtype=dtype, fillvalue=fill)
        return
    more = filters(rng)
    if dtype.kind == "V" and dtype.names is None and "fletcher32" not in more:
        more = {}
    chunks = tuple(int(rng.integers(1, n + 4)) for n in shape)
    growth = [tuple(None if rng.integers(2) else n + 9 for n in shape), (None, *shape[1:]), shape, (*shape[:-1], None)]
    most = growth[rng.integers(4)]
    chunks = tuple(c if m is None else min(c, m) for c, m in zip(chunks, most, strict=True))
    made = f.create_dataset(name, shape, dtype, chunks=chunks, maxshape=most, fillvalue=fill, **more)
    how = rng.integers(4)
    if how == 0:
        made[...] = elements(rng, dtype, shape)
    elif how == 1:  # some chunks
        part = tuple(slice(0, int(rng.integers(1, n + 1))) for n in shape)
        made[part] = elements(rng, dtype, [s.stop for s in part])
    elif how == 2 and most[0] is None:  # grown and shrunk
        made[...] = elements(rng, dtype, shape)
        made.resize(shape[0] * 2, 0)
        made[shape[0]:] = elements(rng, dtype, shape)
        made.resize(shape[0] + 1, 0)
    elif how == 3 and more:  # chunks without their filters
        raw = elements(rng, dtype, chunks)
        data = raw.astype(dtype.subdtype[0] if dtype.subdtype else dtype).tobytes()
        count = made.id.get_create_plist().get_nfilters()
        made.id.write_direct_chunk((0,) * rank, data, filter_mask=(1 << count) - 1)


def fill(name, seed, block=0, libver="earliest", count=30):
    """Creates a file with `count` datasets of random kinds, attributes, groups and links."""
    rng = np.random.default_rng(seed)
    with h5py.File(name, "w", userblock_size=block, libver=libver, track_order=bool(seed % 2)) as f:
        for n in range(count):
            group = f.require_group(f"g{n % 3}/h{n % 2}" if n % 4 else "/")
            dataset(group, rng, f"d{n}")
            group[f"d{n}"].attrs["n"] = elements(rng, TYPES[rng.integers(len(TYPES))], (3,))
        f.create_dataset("texts", data=["", "b", "ccc"], dtype=h5py.string_dtype())
        ragged = f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"), chunks=(2,), compression="gzip")
        ragged[0], ragged[2] = [1, 2, 3], [4]
        f.create_dataset("references", (2,), h5py.ref_dtype)[0] = f["texts"].ref
        f["soft"], f["hard"], f["external"] = h5py.SoftLink("/texts"), f["texts"], h5py.ExternalLink("other.h5", "/x")
        f.attrs["title"] = "of random kinds"
        f["long"] = rng.normal(size=(3, 70_000))
        f.create_dataset("wide", data=rng.integers(0, 99, (900, 700)), chunks=(100, 300), compression="gzip", shuffle=True)
        f["type"] = np.dtype([("x", "<f4"), ("name", "S5")])
        typed = f.create_dataset("of type", (300,), f["type"], chunks=(100,), compression="gzip")
        typed[:150] = elements(rng, typed.dtype, (150,))
        f["x axis"] = np.arange(900)
        f["x axis"].make_scale("x")
        f["wide"].dims[0].attach_scale(f["x axis"])
    if block:
        with open(name, "r+b") as raw:
            raw.write(b"#!/bin/sh\nexit 0\n")


def form(made):
    """Returns the creation properties of a dataset."""
    plist = made.id.get_create_plist()
    kinds = [plist.get_filter(n)[:3] for n in range(plist.get_nfilters())]
    committed = made.id.get_type().committed()
    return [str(made.dtype), committed, made.shape, made.maxshape, made.chunks, plist.get_layout(), kinds, repr(made.fillvalue), plist.get_fill_time()]


def seen(name):
    """Returns the content of a file as programs see it: {path: content}."""
    def value(found):
        if isinstance(found, np.ndarray) and found.dtype.hasobject:
            return [str(one.tolist() if hasattr(one, "tolist") else one) for one in found.ravel()]
        return hashlib.sha256(found.tobytes()).hexdigest() if hasattr(found, "tobytes") else repr(found)

    with h5py.File(name) as f:
        said = {"/": [f.userblock_size, {key: value(found) for key, found in f.attrs.items()}, list(f)]}

        def note(path, one):
            attributes = {key: value(found) for key, found in one.attrs.items() if key not in ("DIMENSION_LIST", "REFERENCE_LIST")}
            known = form(one) if isinstance(one, h5py.Dataset) else list(one) if isinstance(one, h5py.Group) else str(one.dtype)
            said[path] = [attributes, known]
            if isinstance(one, h5py.Dataset):
                if h5py.check_ref_dtype(one.dtype):
                    said[path].append([f[ref].name if ref else None for ref in one[()]])
                else:
                    said[path].append(value(one[()]))

        f.visititems(note)
        said["scale"] = f["wide"].dims[0][0].name if "wide" in f else None
        return {path: repr(what) for path, what in said.items()}
