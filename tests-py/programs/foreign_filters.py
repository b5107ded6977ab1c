"""Foreign filters that a program registers, combined with HDF5's filters and with missing filters. Every pipeline reads back the data
that it wrote, also after a partial write, and its set-up, skipped filters and stored bytes match native HDF5. Also forged chunks."""

import ctypes
import itertools
import os
import pickle
import re
import subprocess
import sys

import h5py
import numpy as np
from cases import OURS, PART, hdf5_path, main, part_of
from h5py import h5d, h5p, h5s, h5t, h5z

SHUFFLE, DEFLATE, FLETCHER32, SZIP, NBIT, SCALEOFFSET, LZF = 2, 1, 3, 4, 5, 6, 32000
KEYED, DECLINING, MISSING, NEWER = 300, 301, 302, 303
HDF5, LIBC = ctypes.CDLL(hdf5_path()), ctypes.CDLL(None)
LIBC.realloc.restype, LIBC.realloc.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]
HDF5.H5Tget_size.restype, HDF5.H5Tget_size.argtypes = ctypes.c_size_t, [ctypes.c_int64]
HDF5.H5Pmodify_filter.argtypes = [ctypes.c_int64, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, ctypes.c_void_p]
HDF5.H5Pget_filter_by_id2.argtypes = [ctypes.c_int64, ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_size_t,
                                      *[ctypes.c_void_p] * 2]
FUNCTION = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_uint, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint),
                            ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_void_p))
SET_LOCAL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
REVERSE = 0x100
runs = 0
# True if `set_local` returns the parameters of another version of the filter.
is_another_version = False


class Class(ctypes.Structure):
    _fields_ = [("version", ctypes.c_int), ("id", ctypes.c_int), ("encodes", ctypes.c_uint), ("decodes", ctypes.c_uint),
                ("name", ctypes.c_char_p), ("can_apply", ctypes.c_void_p), ("set_local", ctypes.c_void_p),
                ("filter", FUNCTION)]


@SET_LOCAL
def set_local(creation, kind, _space):
    """Appends the size of an element to the parameters that the program gave."""
    flags, count, values = ctypes.c_uint(), ctypes.c_size_t(3), (ctypes.c_uint * 4)()
    if HDF5.H5Pget_filter_by_id2(creation, KEYED, ctypes.byref(flags), ctypes.byref(count), values, 0, None, None) < 0:
        return -1
    values[count.value] = HDF5.H5Tget_size(kind) + is_another_version
    return HDF5.H5Pmodify_filter(creation, KEYED, flags.value, count.value + 1, values)


@FUNCTION
def keyed(flags, count, values, size, room, buffer):
    """Adds the sum of the parameters to every byte, and appends three bytes, so that other parameters give other bytes."""
    global runs
    runs += 1
    key = sum(values[:count]) % 251
    data = np.frombuffer(ctypes.string_at(buffer[0], size), "u1")
    if flags & REVERSE:
        if size <= 3 or bytes(data[-3:]) != bytes([key]) * 3:
            return 0
        data = data[:-3] - np.uint8(key)
    else:
        data = np.concatenate([data + np.uint8(key), np.full(3, key, "u1")])
    buffer[0] = LIBC.realloc(buffer[0], len(data))
    ctypes.memmove(buffer[0], data.tobytes(), len(data))
    room[0] = len(data)
    return len(data)


@FUNCTION
def declining(flags, count, values, size, room, buffer):
    """Declines every chunk."""
    return size if flags & REVERSE else 0


def as_pointer(function):
    return ctypes.cast(function, ctypes.c_void_p).value


CLASSES = [Class(1, KEYED, 1, 1, b"keyed", None, as_pointer(set_local), keyed),
           Class(1, DECLINING, 1, 1, b"declining", None, None, declining)]
for each in CLASSES:
    assert HDF5.H5Zregister(ctypes.byref(each)) >= 0

GIVEN = {DEFLATE: (4,), KEYED: (7,), SZIP: (141, 8), SCALEOFFSET: (2, 0)}
FOREIGN = {KEYED, DECLINING, MISSING}
TEXT = h5py.string_dtype()
WORDS = [f"word {n % 7}" for n in range(40)]
NUMBERS = np.arange(40) // 3
PAIRS = np.array([(n, word) for n, word in zip(NUMBERS, WORDS)], [("n", "<i4"), ("t", object)])
KINDS = {
    "i4": (h5t.STD_I32LE, NUMBERS.astype("i4")),
    "f8": (h5t.IEEE_F64LE, NUMBERS / 4),
    "record": (h5t.py_create(np.dtype([("a", "<i2"), ("b", "<f4")])),
               np.array(list(zip(NUMBERS, NUMBERS / 8)), [("a", "<i2"), ("b", "<f4")])),
    "text": (h5t.py_create(TEXT, logical=True), np.array(WORDS, object)),
    "sequence": (h5t.vlen_create(h5t.STD_I32LE),
                 np.fromiter((np.arange(n % 4, dtype="i4") for n in range(40)), object, 40)),
    "text in a record": (h5t.py_create(np.dtype([("n", "<i4"), ("t", TEXT)]), logical=True), PAIRS),
    "reference": (h5t.STD_REF_OBJ, None),
}
# Types with stored elements that differ from those of native HDF5: identifiers of data that is stored elsewhere.
ELSEWHERE = {"text", "sequence", "text in a record", "reference"}
# Types with stored elements of another size than in native HDF5.
OTHER_SIZE = {"text in a record"}


def cases():
    """Returns every pipeline of up to three filters that has a foreign filter, mandatory and optional, on every type."""
    usual = [SHUFFLE, DEFLATE, FLETCHER32, LZF, KEYED, DECLINING, MISSING]
    pipelines = [p for n in (1, 2, 3) for p in itertools.permutations(usual, n) if FOREIGN & set(p)]
    # These filters of native HDF5 write past their buffers if another filter has changed the length of the chunk.
    pipelines += [p for other in (SZIP, NBIT, SCALEOFFSET) for own in sorted(FOREIGN)
                  for p in ((other, own), (other, SHUFFLE, own))]
    # If a mandatory filter declines, the write fails. HDF5 then keeps an identifier of a closed object, and may crash.
    never_decline = {SHUFFLE, DEFLATE, FLETCHER32, KEYED, MISSING}
    return [(f"{kind} {'needed' if flags == 0 else 'optional'} {p}", kind, flags, p)
            for p in pipelines for flags in (0, 1) for kind in KINDS if flags or never_decline.issuperset(p)]


def create(f, name, kind, flags, pipeline):
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((16,))
    for number in pipeline:
        creation.set_filter(number, flags, GIVEN.get(number, ()))
    return h5py.Dataset(h5d.create(f.id, name.encode(), KINDS[kind][0], h5s.create_simple((40,)), creation))


def data_of(f, kind):
    if kind != "reference":
        return KINDS[kind][1].copy()
    targets = [f.require_group(f"target {n}").ref for n in range(3)]
    return np.array([targets[n % 3] for n in range(40)], h5py.ref_dtype)


def plain(f, values):
    """Returns elements as lists and strings, so that they can be compared."""
    if isinstance(values, h5py.Reference):
        return f[values].name
    if isinstance(values, bytes):
        return values.decode()
    if isinstance(values, (np.ndarray, np.generic)):
        return plain(f, values.tolist())
    return [plain(f, value) for value in values] if isinstance(values, (list, tuple)) else values


def stored(d):
    """Returns the mask and the bytes of each chunk."""
    return [d.id.read_direct_chunk((at,)) for at in (0, 16, 32)]


def told(d):
    """Returns the pipeline of a dataset without the names of its filters."""
    creation = d.id.get_create_plist()
    return [creation.get_filter(n)[:3] for n in range(creation.get_nfilters())]


def outcome(name, kind, flags, pipeline):
    """Writes a dataset and reads it. Returns its stored pipeline and chunks, or the reason why the write failed, or the reason why
    the read failed, which is always a fault."""
    path, done = "pipeline.h5", "refused"
    try:
        with h5py.File(path, "w") as f:
            data, d = data_of(f, kind), create(f, name, kind, flags, pipeline)
            done = "not written"
            d[...] = data
            del d
    except (ValueError, OSError, RuntimeError):
        return done
    try:
        with h5py.File(path, "r+") as f:
            wanted, d = plain(f, data_of(f, kind)), f[name]
            assert plain(f, d[...]) == wanted, "other data"
            seen = told(d), stored(d)
            d[3:20] = data_of(f, kind)[20:37]
        with h5py.File(path, "r+") as f:
            wanted[3:20] = wanted[20:37]
            assert plain(f, f[name][...]) == wanted, "other data after a change"
            if OURS:  # native HDF5 copies no chunk with references or texts in it behind some filters, or crashes
                f.copy(name, "copy")
                assert plain(f, f["copy"][...]) == wanted, "other data in a copy"
    except (OSError, ValueError, RuntimeError) as error:
        return f"not read: {error}"
    return seen


def outcomes(part):
    return {case[0]: outcome(*case) for case in part_of(cases(), part)}


def outcomes_or_crashes(part):
    """Returns `outcomes`, with None for a case that ends by a signal, which happens in native HDF5."""
    seen = {}
    for case in part_of(cases(), part):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with open(writer, "wb") as out:
                pickle.dump(outcome(*case), out)
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as told_:
            bytes_ = told_.read()
        seen[case[0]] = None if os.waitpid(child, 0)[1] else pickle.loads(bytes_)
    return seen


def natively(part):
    env = {k: v for k, v in os.environ.items() if k != "HDF5_VOL_CONNECTOR"}
    run = subprocess.run([sys.executable, __file__, "natively", str(part)], env=env, stdout=subprocess.PIPE, check=True)
    return pickle.loads(run.stdout)


def comparable(name, seen):
    """Returns the part of an outcome that is the same in native files and in containers."""
    if isinstance(seen, str):
        return seen
    kind, pipeline = re.match(r"(.*) (?:needed|optional) (\(.*\))", name).groups()
    pipeline, (told_, stored_) = eval(pipeline), seen
    masks = [mask for mask, _ in stored_]
    if kind in OTHER_SIZE:
        told_ = [(number, flags) for number, flags, _ in told_]
    if LZF in pipeline[1:]:
        return told_  # h5py's code declines depending on the free space that the filter before has left in its buffer
    # These filters have several valid encodings.
    if {DEFLATE, LZF} & set(pipeline) or kind in ELSEWHERE:
        return told_, masks
    return told_, stored_


def check_every_pipeline(_):
    part = 7 * PART
    ours = (outcomes if OURS else outcomes_or_crashes)(part)
    wrong = {name: seen for name, seen in ours.items() if str(seen).startswith("not read")}
    assert not wrong or not OURS, wrong
    written = [name for name, seen in ours.items() if not isinstance(seen, str)]
    assert len(written) > len(ours) / 4, f"{len(written)} of {len(ours)}"
    if not OURS:
        return  # there is no reference to compare with
    os.mkdir("native-side")
    os.chdir("native-side")
    wanted = natively(part)
    readable = {name: seen for name, seen in wanted.items() if seen and not str(seen).startswith("not read")}
    assert len(readable) > len(wanted) * 0.9, set(wanted) - set(readable)
    differ = {name: (comparable(name, ours[name]), comparable(name, seen)) for name, seen in readable.items()
              if comparable(name, ours[name]) != comparable(name, seen)}
    assert not differ, differ


def check_parameters_are_those_that_are_stored(_):
    """A filter decodes with the stored parameters, even if its present version would set different ones. For
    variable-length data, HDF5 runs no `set_local`, and the creation list has the program's parameters."""
    with h5py.File("given.h5", "w") as f:
        for kind, values in {"text": (7,), "i4": (7, 4)}.items():
            d = create(f, kind, kind, 1, (SHUFFLE, KEYED))
            d[...] = data_of(f, kind)
            f.flush()
            assert told(d)[1][2] == values, told(d)
            (mask, chunk), *_ = stored(d)
            assert mask == (kind == "text"), mask
            if kind == "i4":
                assert set(chunk[-3:]) == {sum(values)}, chunk[-3:]
    global is_another_version
    is_another_version = True
    with h5py.File("given.h5", "r+") as f:
        before = runs
        assert f["i4"][3:5].tolist() == NUMBERS[3:5].tolist() and runs == before + 1
        f["i4"][0] = 77
        f.flush()
        assert set(stored(f["i4"])[0][1][-3:]) == {11}
    is_another_version = False


FORGED = """
import resource, sys
sys.argv = ["x", "."]
from foreign_filters import *
chunks = {chunks}
with h5py.File("forged.h5", "w") as f:
    for n, chunk in enumerate(chunks):
        create(f, f"{{n}}", "i4", 1, {pipeline}).id.write_direct_chunk((0,), chunk)
with h5py.File("forged.h5") as f:
    for n, _ in enumerate(chunks):
        try: f[f"{{n}}"][...]; print("read")
        except OSError as error: print("refused:", error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def forged(pipeline, chunks):
    """Reads each forged chunk in a process of its own. Returns the results and the peak size of the process in MiB."""
    code = FORGED.format(pipeline=pipeline, chunks=chunks)
    env = os.environ | {"PYTHONPATH": os.path.dirname(os.path.abspath(__file__))}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, f"{pipeline}: {run.returncode} {run.stdout} {run.stderr}"
    *said, size = run.stdout.splitlines()
    return said, int(size)


def sealed(chunk):
    """Returns the encoding of `keyed` for 32-bit integers."""
    return bytes(byte + 11 & 255 for byte in chunk) + bytes([11]) * 3


def check_forged_chunks(_):
    """Reading a forged chunk is an error and takes no more memory than a few chunks, although HDF5's own filters trust a chunk."""
    if not OURS:
        return  # native HDF5 crashes
    # The last forged chunk begins with a length of 2 GiB.
    chunks = [b"1", b"12345", bytes(63), b"\xf0\xff\xff\x7f" + bytes(1600)]
    chunks += [sealed(chunk) for chunk in chunks]
    base = forged((KEYED,), [b"1"])[1]
    for pipeline in [(MISSING, FLETCHER32), (KEYED, FLETCHER32), (FLETCHER32, KEYED), (KEYED, SHUFFLE), (KEYED, DEFLATE),
                     (KEYED, NBIT), (NBIT, KEYED), (KEYED, SCALEOFFSET), (SCALEOFFSET, KEYED), (KEYED, SZIP), (SZIP, KEYED),
                     (KEYED, LZF), (DECLINING, FLETCHER32), (KEYED,), (DECLINING,)]:
        said, size = forged(pipeline, chunks)
        assert size < base + 100, f"{pipeline}: {size} MiB, {base} before"
        # Some filters take any bytes.
        has_sums = {FLETCHER32, DEFLATE, MISSING} & set(pipeline)
        assert not has_sums or all(each.startswith("refused") for each in said), (pipeline, said)
        missing = [each for each in said if f"filter {MISSING} is not registered" in each]
        assert len(missing) == (len(chunks) if MISSING in pipeline else 0), (pipeline, said)


def check_setting_forbids_them(_):
    """With foreign_filters=refuse, foreign filters neither decode nor encode, for files from strangers."""
    if not OURS:
        return
    with h5py.File("own.h5", "w") as f:
        for name, flags, pipeline in (("keyed", 0, (KEYED,)), ("built in", 0, (SHUFFLE, DEFLATE)), ("skipped", 1, (MISSING,))):
            create(f, name, "i4", flags, pipeline)[...] = NUMBERS
    code = """
import sys
sys.argv = ["x", "."]
import foreign_filters
from foreign_filters import *
with h5py.File("own.h5", "r+") as f:
    assert (f["built in"][...] == NUMBERS).all() and (f["skipped"][...] == NUMBERS).all()
    try: f["keyed"][...]
    except OSError as error: print(error)
    try: create(f, "new", "i4", 0, (KEYED,))
    except ValueError as error: print(error)
    create(f, "optional", "i4", 1, (KEYED,))[...] = NUMBERS
    f.flush()
    print(*(mask for mask, _ in stored(f["optional"])))
assert foreign_filters.runs == 0
"""
    env = os.environ | {"PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), "H5LAKE_FOREIGN_FILTERS": "refuse"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    read, made, masks = run.stdout.splitlines()
    assert "filter 'keyed' (filter 300) is not built in, and foreign_filters=refuse" in read, read
    assert "foreign_filters=refuse" in made and masks == "1 1 1", (made, masks)


def check_a_class_of_an_unknown_version_runs_no_filter(_folder):
    """libhdf5 does not register a filter class of a version that it does not know, and no chunk goes through the filter."""
    newer = Class(99, NEWER, 1, 1, b"newer", None, None, keyed)
    before = runs
    assert HDF5.H5Zregister(ctypes.byref(newer)) < 0 and not h5z.filter_avail(NEWER)
    with h5py.File("newer.h5", "w") as f:
        try:
            create(f, "required", "i4", 0, (NEWER,))[...] = NUMBERS
            raise AssertionError("a filter ran that is not registered")
        except (OSError, ValueError, RuntimeError) as error:
            assert "not registered" in str(error) or not OURS and "filter" in str(error), error
        f.require_group("kept")
        create(f, "optional", "i4", 1, (NEWER, SHUFFLE))[...] = NUMBERS
    with h5py.File("newer.h5") as f:
        assert f["optional"][...].tolist() == NUMBERS.tolist() and [chunk[0] & 1 for chunk in stored(f["optional"])] == [1, 1, 1]
    assert runs == before


if __name__ == "__main__":
    if sys.argv[1] == "natively":
        sys.stdout.buffer.write(pickle.dumps(outcomes_or_crashes(int(sys.argv[2]))))
    else:
        main(globals())
