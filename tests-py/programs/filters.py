"""Every filter of HDF5, h5py's lzf, and the filters of hdf5plugin: their set-up, the stored chunks, and the data
that is read. Chunks written here are stored in a file of plain HDF5 without change and read there, and the
reverse."""
# requires: filters.txt

import os
import pickle
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
from cases import main, raises, same
from h5py import h5d, h5p, h5s, h5t, h5z

RNG = np.random.default_rng(5)
INTEGERS = np.cumsum(RNG.integers(-3, 4, (70, 33)), axis=1).astype("<i4")
FLOATS = np.round(np.sin(np.arange(70 * 33).reshape(70, 33) / 50), 3)


def nbit(base, precision, offset):
    """Returns an integer type with few significant bits."""
    kind = base.copy()
    kind.set_precision(precision)
    kind.set_offset(offset)
    return kind


def low_level(filters, kind=None):
    """Returns a creation property list with filters given by number, and the type in the file."""
    def make(data):
        creation = h5p.create(h5p.DATASET_CREATE)
        creation.set_chunk((20, 10))
        for number, flags, values in filters:
            creation.set_filter(number, flags, values)
        return creation, kind or h5t.py_create(data.dtype)
    return make


def keywords(**kw):
    """Returns the keyword arguments of `create_dataset`."""
    def make(data):
        kw.setdefault("chunks", (20, 10))
        creation = h5py._hl.filters.fill_dcpl(
            h5p.create(h5p.DATASET_CREATE), data.shape, data.dtype, kw["chunks"], kw.get("compression"),
            kw.get("compression_opts"), kw.get("shuffle"), kw.get("fletcher32"), kw.get("maxshape"),
            kw.get("scaleoffset"), None)
        return creation, h5t.py_create(data.dtype, logical=True)
    return make


def plugin(cls, *args, **kw):
    made = cls(*args, **kw)
    return keywords(compression=made.filter_id, compression_opts=made.filter_options)


COMPOUND = np.zeros((70, 33), [("a", "<i2"), ("b", "<f4"), ("c", ">u8")])
COMPOUND["a"], COMPOUND["b"], COMPOUND["c"] = INTEGERS % 500, FLOATS, INTEGERS % 7

CASES = {
    **{f"gzip{n}": (INTEGERS, keywords(compression="gzip", compression_opts=n)) for n in range(10)},
    "shuffle": (INTEGERS, keywords(shuffle=True)),
    "fletcher32": (FLOATS, keywords(fletcher32=True)),
    "gzip all": (COMPOUND, keywords(compression="gzip", shuffle=True, fletcher32=True)),
    "szip nn": (INTEGERS, keywords(compression="szip", compression_opts=("nn", 8))),
    "szip ec": (FLOATS, keywords(compression="szip", compression_opts=("ec", 16), shuffle=True)),
    "szip big end": (INTEGERS.astype(">u2"), keywords(compression="szip")),
    "lzf": (INTEGERS, keywords(compression="lzf")),
    "lzf all": (FLOATS, keywords(compression="lzf", shuffle=True, fletcher32=True)),
    "scaleoffset int": (INTEGERS, keywords(scaleoffset=0)),
    "scaleoffset short": (INTEGERS.astype(">i2"), keywords(scaleoffset=9, fletcher32=True)),
    "scaleoffset float": (FLOATS, keywords(scaleoffset=3, compression="gzip")),
    "scaleoffset double": (FLOATS.astype("f4"), keywords(scaleoffset=2, shuffle=True)),
    "nbit": (np.abs(INTEGERS) % (1 << 12), low_level([(5, 0, ())], nbit(h5t.STD_I32LE, 13, 5))),
    "nbit big end": (np.abs(INTEGERS) % 30, low_level([(5, 1, ()), (1, 1, (4,))], nbit(h5t.STD_U16BE, 9, 0))),
    "nbit compound": (COMPOUND, low_level([(5, 0, ())])),
    "blosc": (INTEGERS, plugin(hdf5plugin.Blosc, cname="zstd", clevel=4, shuffle=1)),
    "blosc lz4 bits": (FLOATS, plugin(hdf5plugin.Blosc, cname="lz4", shuffle=2)),
    "blosc2 blosclz": (INTEGERS, plugin(hdf5plugin.Blosc2, cname="blosclz", clevel=5)),
    "blosc2 zstd": (INTEGERS, plugin(hdf5plugin.Blosc2, cname="zstd", clevel=5)),
    "blosc2 lz4 bits": (FLOATS, plugin(hdf5plugin.Blosc2, cname="lz4", filters=2)),
    "bitshuffle": (INTEGERS, plugin(hdf5plugin.Bitshuffle, cname="lz4")),
    "bitshuffle zstd": (FLOATS, plugin(hdf5plugin.Bitshuffle, cname="zstd")),
    "bzip2": (INTEGERS, plugin(hdf5plugin.BZip2)),
    "lz4": (INTEGERS, plugin(hdf5plugin.LZ4)),
    "zstd": (COMPOUND, plugin(hdf5plugin.Zstd, clevel=7)),
    "fcidecomp": (np.abs(INTEGERS).astype("u1"), plugin(hdf5plugin.FciDecomp)),
    "zfp": (FLOATS, plugin(hdf5plugin.Zfp, accuracy=0.001)),
    "zfp reversible": (FLOATS.astype("f4"), plugin(hdf5plugin.Zfp, reversible=True)),
    "sz3": (FLOATS, plugin(hdf5plugin.SZ3, absolute=0.001)),
    "sperr": (FLOATS, plugin(hdf5plugin.Sperr, peak_signal_to_noise_ratio=60)),
}
TEXT = np.full((70, 33), b"same", "S7")
# Combinations that cannot work: a mandatory filter is refused, and an optional filter is left out.
CASES |= {
    "scaleoffset text": (TEXT, low_level([(6, 1, (2, 3))])),
    "scaleoffset text needed": (TEXT, low_level([(6, 0, (2, 3))])),
    "szip text": (TEXT, low_level([(4, 1, (141, 8))])),
    "nbit text": (TEXT, low_level([(5, 1, ()), (2, 1, ())])),
    "twice": (INTEGERS, low_level([(2, 1, ()), (32000, 1, ()), (1, 1, (3,))])),
    "too small": (RNG.integers(0, 256, (70, 33)).astype("u1"), low_level([(32000, 1, ())])),
}
# Cases with several valid results: other encoders, or threads that divide a chunk differently.
NOT_ONE_ENCODING = ("gzip", "lzf", "twice", "too small", "scaleoffset float", "nbit big end",
                    "blosc2 blosclz")


def pipeline(dataset):
    creation = dataset.get_create_plist()
    return [creation.get_filter(i) for i in range(creation.get_nfilters())]


def make(file, name):
    data, how = CASES[name]
    creation, kind = how(data)
    return h5d.create(file.id, name.encode(), kind, h5s.create_simple(data.shape), creation)


def chunks(dataset):
    return {info.chunk_offset: dataset.read_direct_chunk(info.chunk_offset)
            for info in map(dataset.get_chunk_info, range(dataset.get_num_chunks()))}


def read(dataset, data):
    out = np.zeros_like(data)
    dataset.read(h5s.ALL, h5s.ALL, out)
    return out.astype(out.dtype.newbyteorder("="))


def write_all(file, only=None):
    """Writes every case. Returns, by name, the set-up, the stored chunks and the data that was read, or the text of
    the error."""
    seen = {}
    for name in only or CASES:
        data = CASES[name][0]
        try:
            dataset = make(file, name)
            dataset.write(h5s.ALL, h5s.ALL, data)
        except (ValueError, OSError, RuntimeError) as error:
            seen[name] = type(error)
            continue
        seen[name] = pipeline(dataset), chunks(dataset), read(dataset, data)
    return seen


def plain(task, argument):
    """Runs a function of this module in a process that has only plain HDF5. Returns its result."""
    env = {k: v for k, v in os.environ.items() if k != "HDF5_VOL_CONNECTOR"}
    run = subprocess.run([sys.executable, __file__, "plain", task], input=pickle.dumps(argument), env=env,
                         stdout=subprocess.PIPE, check=True)
    return pickle.loads(run.stdout)


def plain_write(_):
    with h5py.File("native-written.h5", "w") as file:
        return write_all(file)


def plain_decode(stored):
    with h5py.File("native-decoded.h5", "w") as file:
        return decode_all(file, stored)


def decode_all(file, stored):
    """Writes chunks as they are stored, and reads them."""
    out = {}
    for name, parts in stored.items():
        dataset = make(file, name)
        for offset, (mask, data) in parts.items():
            dataset.write_direct_chunk(offset, data, mask)
        out[name] = read(dataset, CASES[name][0])
    return out


def check_against_plain_hdf5(_):
    wanted = plain("write", None)
    with h5py.File("ours.h5", "w") as file:
        ours = write_all(file)
        file.flush()
    with h5py.File("ours.h5", "r") as file:  # with an empty cache
        again = {name: read(file[name].id, CASES[name][0]) for name in file}
    stored = {name: got[1] for name, got in ours.items() if isinstance(got, tuple)}
    decoded = plain("decode", stored)
    with h5py.File("decoded.h5", "w") as file:
        back = decode_all(file, {name: got[1] for name, got in wanted.items() if isinstance(got, tuple)})
    assert len(stored) >= 30, sorted(set(CASES) - set(stored))
    for name, expected in wanted.items():
        if not isinstance(expected, tuple):
            assert ours[name] is expected, f"{name}: {ours[name]} instead of {expected}"
            continue
        filters, parts, values = expected
        assert ours[name][0] == filters, f"{name}: {ours[name][0]} instead of {filters}"
        for got in (ours[name][2], again[name], decoded[name], back[name]):
            same(got, values)
        assert {k: v[0] for k, v in ours[name][1].items()} == {k: v[0] for k, v in parts.items()}, name
        if not name.startswith(NOT_ONE_ENCODING):
            assert ours[name][1] == parts, f"{name}: other bytes are stored"


def write_partial(f):
    """Writes parts of chunks one by one, through handles that are opened and closed."""
    for name in ("szip", "lzf"):
        f.create_dataset(name, (70, 33), "i4", chunks=(20, 10), compression=name, fillvalue=-5, maxshape=(None, None))
    f.create_dataset("blosc", (70, 33), "i4", chunks=(20, 10), **hdf5plugin.Blosc())
    for name in f:
        for row in range(0, 60, 7):
            f[name][row, 3:30] = INTEGERS[row, 3:30]
    f["szip"].resize((50, 40))
    f["szip"][45:, 35:] = 1
    f["lzf"].resize((65, 20))
    f["lzf"].resize((70, 33))


def read_partial(f):
    for name in f:
        wanted = np.full((70, 33), 0 if name == "blosc" else -5, "i4")
        wanted[0:60:7, 3:30] = INTEGERS[0:60:7, 3:30]
        if name == "szip":
            wanted = np.pad(wanted[:50], ((0, 0), (0, 7)), constant_values=-5)
            wanted[45:, 35:] = 1
        if name == "lzf":
            wanted[65:], wanted[:, 20:] = -5, -5
        same(f[name][:], wanted)


def write_text(f):
    words = [f"word {i}" for i in range(100)]
    f.create_dataset("deflated", data=words, dtype=h5py.string_dtype(), chunks=(30,), compression="gzip")
    f.create_dataset("shuffled", data=words, dtype=h5py.string_dtype(), chunks=(30,), shuffle=True, compression="lzf")
    f.create_dataset("checked", data=np.array(words, "S9"), chunks=(30,), fletcher32=True, compression="lzf")


def read_text(f):
    for name in f:
        assert [w.decode() for w in f[name][:]] == [f"word {i}" for i in range(100)]


def check_copies(_):
    """Copies datasets that are not open, within a file and to another file."""
    words = [f"word {i}" for i in range(100)]
    with h5py.File("from.h5", "w") as f, h5py.File("to.h5", "w") as g:
        f.create_dataset("in/words", data=words, dtype=h5py.string_dtype(), chunks=(30,), **hdf5plugin.Zstd())
        f.create_dataset("in/numbers", data=INTEGERS, chunks=(20, 10), compression="szip", shuffle=True)
        f.copy("in", "copy")
        f.copy("in", g)
        for group in f["copy"], g["in"]:
            assert [w.decode() for w in group["words"][:]] == words
            same(group["numbers"][:], INTEGERS)
            assert pipeline(group["numbers"].id) == pipeline(f["in/numbers"].id)


def check_refusals(_):
    space = h5s.create_simple((70, 33))
    with h5py.File("refusals.h5", "w") as f:
        def refused(kind, number, flags, values, chunk=(20, 10)):
            creation = h5p.create(h5p.DATASET_CREATE)
            if chunk:
                creation.set_chunk(chunk)
            creation.set_filter(number, flags, values)
            error = raises(ValueError, h5d.create, f.id, b"x", h5t.py_create(np.dtype(kind)), space, creation)
            assert "x" not in f
            return str(error)

        assert "not supported by scaleoffset" in refused("S7", 6, 0, (2, 3))
        assert "pixels" in refused("i4", 4, 0, (141, 32), (2, 2))
        assert "chunked layout" in refused("i4", 1, 0, (4,), None)


def check_open_objects(_):
    """Filters leave no identifier open."""
    with h5py.File("count.h5", "w") as f:
        for n in range(3):
            f.create_dataset(f"{n}", data=INTEGERS, chunks=(20, 10), compression="lzf")
            same(f[f"{n}"][:], INTEGERS)
        import gc
        gc.collect()
        assert h5py.h5f.get_obj_count(f.id, h5py.h5f.OBJ_ALL) == 1


def write_one_of_two_skipped(f):
    """szip declines partial chunks that do not fit its blocks, and n-bit does not, so that each chunk has a mask of
    its own."""
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((3, 3, 4))
    creation.set_filter(h5z.FILTER_NBIT)
    creation.set_szip(h5z.SZIP_NN_OPTION_MASK, 4)
    kind = h5t.NATIVE_LDOUBLE
    d = h5py.Dataset(h5d.create(f.id, b"x", kind, h5s.create_simple((6, 6, 8)), creation))
    d[...] = FLOATS.ravel()[:288].reshape(6, 6, 8)
    same(d[...], FLOATS.ravel()[:288].reshape(6, 6, 8).astype("longdouble"))


def read_one_of_two_skipped(f):
    same(f["x"][...], FLOATS.ravel()[:288].reshape(6, 6, 8).astype("longdouble"))
    assert f["x"].id.get_chunk_info(0).filter_mask == 2


def check_size_of_missing_chunk(_):
    with h5py.File("missing.h5", "w") as f:
        d = f.create_dataset("x", (8,), "i4", chunks=(3,), compression="gzip")
        d[0] = 1
        raises(RuntimeError, d.id.read_direct_chunk, (3,))


def check_szip_of_texts(_):
    """Filters that need a precision are set up for arrays of variable-length strings."""
    kind = np.dtype((h5py.string_dtype(), (3,)))
    with h5py.File("texts.h5", "w") as f:
        d = f.create_dataset("d", (64,), kind, chunks=(32,), compression="szip", compression_opts=("nn", 4))
        d[1] = np.array(["one", "", "three"], object)
    with h5py.File("texts.h5") as f:
        assert f["d"][1].tolist() == [b"one", b"", b"three"]


def check_filters_that_cannot_take_variable_length_data(_):
    """Creation fails if the filter cannot be set up. The n-bit filter accepts variable-length data in a compound."""
    text = h5py.string_dtype()
    sequences = h5t.array_create(h5t.vlen_create(h5t.NATIVE_FLOAT), (2, 2))
    record = h5t.py_create(np.dtype([("a", "<f2"), ("t", text)]), logical=True)
    in_array = h5t.array_create(record, (1,))
    mixed = h5t.create(h5t.COMPOUND, sequences.get_size())
    mixed.insert(b"s", 0, sequences)

    with h5py.File("refused.h5", "w") as f:
        def create(name, kind, number, flags, values=()):
            creation = h5p.create(h5p.DATASET_CREATE)
            creation.set_chunk((8,))
            creation.set_filter(number, flags, values)
            return h5d.create(f.id, name, kind, h5s.create_simple((20,)), creation)

        nbit, szip = h5z.FILTER_NBIT, h5z.FILTER_SZIP
        for flags in (h5z.FLAG_MANDATORY, h5z.FLAG_OPTIONAL):
            for kind in (sequences, mixed, h5t.array_create(mixed, (2,)),
                         h5t.array_create(h5t.py_create(text, logical=True), (3,))):
                error = raises(ValueError, create, b"refused", kind, nbit, flags)
                assert "datatype not supported by nbit" in str(error), error
            for kind in (in_array, record):
                raises(ValueError, create, b"refused", kind, szip, flags, (141, 4))
        raises(ValueError, create, b"refused", sequences, szip, h5z.FLAG_MANDATORY, (141, 4))
        create(b"szip may be left out", sequences, szip, h5z.FLAG_OPTIONAL, (141, 4))
        create(b"n-bit in a compound", record, nbit, h5z.FLAG_MANDATORY)
        create(b"n-bit in an array", in_array, nbit, h5z.FLAG_MANDATORY)
        assert sorted(f) == ["n-bit in a compound", "n-bit in an array", "szip may be left out"]
        for name in ("n-bit in a compound", "n-bit in an array"):
            f[name][1] = np.array((2.5, "deep") if "compound" in name else [(2.5, "deep")], f[name].dtype)
            f.flush()
            got = f[name][1] if "compound" in name else f[name][1][0]
            assert (got["a"], got["t"]) == (2.5, b"deep"), got


if sys.argv[1] == "plain":
    result = {"write": plain_write, "decode": plain_decode}[sys.argv[2]](pickle.load(sys.stdin.buffer))
    sys.stdout.buffer.write(pickle.dumps(result))
else:
    main(globals())
