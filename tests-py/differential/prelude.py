"""The functions that every program can use: random values of a type, selections, and `show`, which turns any result
of HDF5 into plain JSON. The JSON of two runs can be compared, because it has no addresses, no times and no order
where none is defined."""

import ctypes
import hashlib
import os
import struct
import zlib

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5r, h5s, h5t, h5z, h5ds  # noqa: F401 - for the programs

A, B = "a.h5", "b.h5"
# The libhdf5 that h5py uses, for the few calls that h5py does not have.
LIBRARY = ctypes.CDLL(next(line.split()[-1] for line in open("/proc/self/maps") if "libhdf5-" in line))
FILES = {}  # name → the file that a program opened last under it; references are resolved in these files


# --- calls that differ ------------------------------------------------------------------------------------

def flushing(copy):
    """Returns H5Ocopy for native HDF5, which flushes the open datasets first: H5D__contig_copy reads from the file what
    the sieve buffer of an open dataset does not contain completely, and so copies elements from before the last write. h5lake
    copies the last write without a flush."""
    def flush_and_copy(*arguments, **more):
        for dataset in h5f.get_obj_ids(types=h5f.OBJ_DATASET):
            dataset.flush()
        return copy(*arguments, **more)
    return flush_and_copy


if "HDF5_VOL_CONNECTOR" not in os.environ:
    h5o.copy = flushing(h5o.copy)


# --- making values ---------------------------------------------------------------------------------------

def words(rng, encoding="utf-8", longest=12):
    """Returns a string, which now and then is empty, long, or has more bytes than characters."""
    letters = "abcXYZ 0_" + ("äß€𝄞" if encoding == "utf-8" else "")
    length = int(rng.integers(0, longest))
    if rng.random() < 0.03:
        length *= 40
    return "".join(letters[i] for i in rng.integers(0, len(letters), length))


def fitting(text, length):
    """Returns as many whole characters as fit into `length` bytes."""
    while len(text.encode()) > length:
        text = text[:-1]
    return text.encode()


def targets(kinds):
    """Returns the objects that references can be made to: the targets of hard links in f's root group, sorted by
    name."""
    names = sorted(n for n in FILES["f"] if isinstance(FILES["f"].get(n, getlink=True), h5py.HardLink))
    return [o for o in map(FILES["f"].get, names) if isinstance(o, kinds)]


def element(dt, rng):
    """Returns one random value of a type that NumPy stores as Python objects."""
    ref, base, text = h5py.check_ref_dtype(dt), h5py.check_vlen_dtype(dt), h5py.check_string_dtype(dt)
    if text is not None:
        return words(rng, text.encoding)
    if ref is h5py.RegionReference:
        found = [d for d in targets(h5py.Dataset) if d.shape]
        return found[int(rng.integers(len(found)))].regionref[...] if found and rng.random() < 0.9 else None
    if ref is not None:
        found = targets((h5py.Group, h5py.Dataset, h5py.Datatype))
        return found[int(rng.integers(len(found)))].ref if found and rng.random() < 0.9 else None
    return values(base, (int(rng.integers(0, 6)) if rng.random() < 0.97 else 3000,), rng)


def values(dt, shape=(), seed=0):
    """Returns an array of random values of any type that h5py has."""
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    dt = np.dtype(dt)
    if dt.subdtype:
        return values(dt.subdtype[0], tuple(shape) + dt.subdtype[1], rng)
    out = np.zeros(shape, dt)
    text = h5py.check_string_dtype(dt)
    if dt.names:
        for name in dt.names:
            out[name] = values(dt[name], shape, rng)
    elif dt.kind == "O":
        for index in np.ndindex(*shape):
            out[index] = element(dt, rng)
    elif dt.kind == "S":
        for index in np.ndindex(*shape):
            out[index] = fitting(words(rng, text.encoding if text else "ascii"), dt.itemsize)
    elif h5py.check_enum_dtype(dt):
        out[...] = rng.choice(list(h5py.check_enum_dtype(dt).values()), shape)
    elif dt.kind in "fc":
        out[...] = np.round(rng.normal(0, 50, shape), 2)
        if dt.kind == "c":
            out[...] += 1j * np.round(rng.normal(0, 5, shape), 1)
    elif dt.kind == "b":
        out[...] = rng.random(shape) < 0.5
    elif dt.kind in "iu":
        info, small = np.iinfo(dt), rng.random() < 0.7
        low, high = (0 if dt.kind == "u" else -100, 100) if small else (info.min, info.max)
        out[...] = rng.integers(low, high, shape, dtype=dt.newbyteorder("="))
    else:
        raw = rng.integers(0, 256, out.nbytes, dtype="u1").tobytes()
        out = np.frombuffer(raw, f"V{dt.itemsize}").reshape(shape).view(dt) if dt.itemsize else out
    return out


# --- selections ------------------------------------------------------------------------------------------

def select(space, how):
    """Applies a selection given as data: 'all', 'none', ['points', …] or a list of (operation, start, count, stride,
    block)."""
    operations = {"=": h5s.SELECT_SET, "|": h5s.SELECT_OR, "&": h5s.SELECT_AND, "^": h5s.SELECT_XOR,
                  "-": h5s.SELECT_NOTB, "~": h5s.SELECT_NOTA, "+": h5s.SELECT_APPEND}
    if how == "all":
        space.select_all()
    elif how == "none":
        space.select_none()
    elif how[0] == "points":
        space.select_elements(np.array(how[1], "u8"))
    else:
        for op, start, count, stride, block in how:
            space.select_hyperslab(start, count, stride, block, op=operations[op])
    return space


def memory(points, gap):
    """Returns a memory space for `points` elements, packed or with gaps between them, and its length."""
    if gap < 2 or not points:
        return h5s.create_simple((points,)), points
    space = h5s.create_simple((points * gap,))
    space.select_hyperslab((1,), (points,), (gap,))
    return space, points * gap


def read_part(d, how, mtype=None, gap=0):
    """Calls H5Dread for a selection, into a buffer that was filled before."""
    space = select(d.id.get_space(), how)
    mem, length = memory(space.get_select_npoints(), gap)
    dt = np.dtype(mtype) if mtype is not None else d.dtype
    out = np.zeros(length, dt)
    if dt.kind in "iufc" and not dt.metadata:
        out[...] = 7
    d.id.read(mem, space, out, h5t.py_create(dt))
    return out


def write_part(d, how, seed, mtype=None, gap=0):
    """Calls H5Dwrite with random values for a selection."""
    space = select(d.id.get_space(), how)
    mem, length = memory(space.get_select_npoints(), gap)
    dt = np.dtype(mtype) if mtype is not None else d.dtype
    d.id.write(mem, space, values(dt, (length,), seed), h5t.py_create(dt))


def dcpl(**settings):
    """Returns a dataset creation property list. Each keyword names a setter, and the setters are called in order."""
    plist = h5p.create(h5p.DATASET_CREATE)
    for name, arguments in settings.items():
        getattr(plist, "set_" + name)(*arguments)
    return plist


def simple(shape, maxshape=None):
    """Returns a dataspace from Python's shapes."""
    if shape is None:
        return h5s.create(h5s.NULL)
    if shape == ():
        return h5s.create(h5s.SCALAR)
    return h5s.create_simple(shape, maxshape and tuple(h5s.UNLIMITED if n is None else n for n in maxshape))


def make(f, name, tid, shape, plist=None, maxshape=None, lcpl=None):
    """Calls H5Dcreate with a type that NumPy does not have, or with settings that h5py's create_dataset does not
    take."""
    return h5d.create(f.id, name.encode(), tid, simple(shape, maxshape), plist, lcpl)


def integer(bits, offset=0, base=None):
    """Returns an integer type with a precision below its size, for the n-bit filter."""
    tid = (base or h5t.STD_I32LE).copy()
    tid.set_precision(bits)
    tid.set_offset(offset)
    return tid


# --- showing what came back ------------------------------------------------------------------------------

def brief(raw):
    """Returns bytes, or their hash if they are many."""
    return raw.hex() if len(raw) <= 64 else f"{len(raw)} bytes, {hashlib.sha1(raw).hexdigest()}"


def addresses(file):
    """Returns {address: the first path} for each object of a file."""
    found = {h5o.get_info(file.id).addr: "/"}

    def visit(name, obj):
        found.setdefault(h5o.get_info(obj.id).addr, "/" + name)
    file.visititems(visit)
    return found


def named(oid):
    """Names an object of the open files, independently of how it was opened."""
    info = h5o.get_info(oid)
    for key in ("f", "g"):
        if key in FILES and FILES[key] and FILES[key].id and FILES[key].id.valid:
            if FILES[key].id == h5py.h5i.get_file_id(oid):
                return [key, addresses(FILES[key]).get(info.addr, "without a name"), info.type]
    return ["another file", info.type]


def show_reference(ref):
    """Returns the target of a reference in the file that `looking at` names. In native HDF5 a reference is just an
    address."""
    if not ref:
        return "no reference"
    try:
        oid = h5r.dereference(ref, FILES[FILES.get("looking at", "f")].id)
    except Exception as error:  # noqa: BLE001 - the outcome is data here
        return ["reference", type(error).__name__]
    shown = ["reference", named(oid)]
    if isinstance(ref, h5py.RegionReference):
        # Leaves out the extent: h5lake shows the extent of the first read, because libhdf5 caches the result of that
        # read.
        shown.append(show(h5r.get_region(ref, oid))[2:])
    return shown


def show_space(space):
    kind = space.get_simple_extent_type()
    if kind == h5s.NULL:
        return ["null space"]
    shown = [list(space.get_simple_extent_dims()), list(space.get_simple_extent_dims(True))]
    sort = space.get_select_type()
    if sort == h5s.SEL_POINTS:
        shown += ["points", space.get_select_elem_pointlist().tolist()[:20]]
    elif sort == h5s.SEL_HYPERSLABS and space.get_select_npoints():
        shown += ["slab", space.get_select_npoints(), show(space.get_select_bounds())]
    elif sort == h5s.SEL_NONE:
        shown += ["none"]
    return shown


def show_type(tid):
    """Describes a datatype in full."""
    kind, size = tid.get_class(), tid.get_size()
    if kind == h5t.COMPOUND:
        return ["compound", size, [[tid.get_member_name(i).decode(), tid.get_member_offset(i),
                                    show_type(tid.get_member_type(i))] for i in range(tid.get_nmembers())]]
    if kind == h5t.ENUM:
        return ["enum", show_type(tid.get_super()), [[tid.get_member_name(i).decode(), tid.get_member_value(i)]
                                                     for i in range(tid.get_nmembers())]]
    if kind == h5t.ARRAY:
        return ["array", list(tid.get_array_dims()), show_type(tid.get_super())]
    if kind == h5t.VLEN:
        return ["vlen", show_type(tid.get_super())]
    if kind == h5t.STRING:
        return ["string", None if tid.is_variable_str() else size, tid.get_cset(), tid.get_strpad()]
    if kind == h5t.OPAQUE:
        return ["opaque", size, tid.get_tag().decode("latin-1")]
    if kind == h5t.REFERENCE:
        return ["reference", size, tid.equal(h5t.STD_REF_OBJ), tid.equal(h5t.STD_REF_DSETREG)]
    shown = [["integer", "float", "time", "", "bitfield"][kind] if kind < 5 else kind, size]
    if kind == h5t.BITFIELD:
        shown.append(tid.get_order())
    if kind in (h5t.INTEGER, h5t.FLOAT):
        shown += [tid.get_order(), tid.get_precision(), tid.get_offset(), list(tid.get_pad())]
    if kind == h5t.INTEGER:
        shown.append(tid.get_sign())
    if kind == h5t.FLOAT:
        shown += [list(tid.get_fields()), tid.get_ebias(), tid.get_norm(), tid.get_inpad()]
    return shown


def show_array(array):
    dt = array.dtype
    head = [str(dt) if not dt.names else "compound", list(array.shape)]
    if dt.names:
        return head + [[name, show_array(array[name])] for name in dt.names]
    if dt.kind == "O":
        flat = [show(v) for v in array.ravel()]
        if h5py.check_ref_dtype(dt):  # complete, because the targets of dangling references differ
            return head + flat
        text = repr(flat)
        return head + (flat if len(text) < 2000 else [flat[:3], hashlib.sha1(text.encode()).hexdigest()])
    if dt.kind in "fc" and dt.itemsize > (8 if dt.kind == "f" else 16):  # the padding between the numbers is arbitrary
        return head + [repr(array.tolist())]
    raw = np.ascontiguousarray(array).tobytes()
    shown = [repr(array.tolist()), zlib.crc32(raw)] if dt.kind in "iufbcS" and array.size <= 64 else [brief(raw)]
    if dt.kind == "f":  # the rounded numbers are the same before and after scale-offset, which retains two decimals or more
        with np.errstate(all="ignore"):
            rounded = np.round(array.astype("f8"), 2) + 0.0
        shown[-1:] = [f"exactly {shown[-1]}", f"rounded {zlib.crc32(rounded.tobytes())}"]
    return head + shown


def show_dcpl(plist, latest=False, heap=True):
    """Describes a dataset creation property list, as far as h5py can query it and both formats store it."""
    layout = plist.get_layout()
    shown = {"layout": layout, "filters": [show(plist.get_filter(i)) for i in range(plist.get_nfilters())],
             "fill": plist.fill_value_defined(), "fill time": plist.get_fill_time(),
             "alloc time": plist.get_alloc_time(), "attr order": plist.get_attr_creation_order()}
    if latest:  # the old format stores neither
        shown["times"], shown["phase"] = plist.get_obj_track_times(), list(plist.get_attr_phase_change())
    if heap:  # the n-bit and shuffle filters' parameters tell how large an element is in the file
        shown["filters"] = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if layout == h5d.CHUNKED:
        shown["chunk"] = list(plist.get_chunk())
    if layout == h5d.VIRTUAL:
        shown["sources"] = [[plist.get_virtual_filename(i), plist.get_virtual_dsetname(i),
                             show(plist.get_virtual_vspace(i)),
                             # Leaves out the extent of the source: the format stores only the selection.
                             show(plist.get_virtual_srcspace(i))[2:]]
                            for i in range(plist.get_virtual_count())]
    return shown


def show(value):
    """Returns plain JSON for any result of a program's step."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (bytes, bytearray)):
        return "b:" + (repr(bytes(value)) if len(value) < 200 else brief(value))
    if isinstance(value, h5py.Empty):
        return ["empty", str(value.dtype)]
    if isinstance(value, (h5py.Reference, h5py.RegionReference)):
        return show_reference(value)
    if isinstance(value, np.ndarray):
        return show_array(value)
    if isinstance(value, np.generic):
        return show_array(np.asarray(value)) if not isinstance(value, np.void) or value.dtype.names is None \
            else show_array(np.array(value, value.dtype))
    if isinstance(value, (tuple, list)):
        return [show(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((show(v) for v in value), key=repr)
    if isinstance(value, dict):
        return [[show(k), show(v)] for k, v in value.items()]
    if isinstance(value, h5t.TypeID):
        return show_type(value)
    if isinstance(value, h5s.SpaceID):
        return show_space(value)
    if isinstance(value, h5p.PropDCID):
        return show_dcpl(value)
    if isinstance(value, h5py.SoftLink):
        return ["soft link", value.path]
    if isinstance(value, h5py.ExternalLink):
        return ["external link", value.filename, value.path]
    if isinstance(value, h5py.HLObject):
        return [type(value).__name__, named(value.id) if value.id else "closed"]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, np.dtype):
        return ["dtype", str(value)]
    return type(value).__name__


def comment(oid):
    """Returns an object's comment. h5py's own call returns arbitrary bytes."""
    out = ctypes.create_string_buffer(1000)
    return [LIBRARY.H5Oget_comment(ctypes.c_int64(oid.id), out, ctypes.c_size_t(1000)), out.value]


# --- looking at whole files ------------------------------------------------------------------------------

def attempt(function, *arguments):
    """Returns the result of a call, or the class of its exception."""
    try:
        return show(function(*arguments))
    except Exception as error:  # noqa: BLE001 - the outcome is data here
        return f"!{type(error).__name__}"


def safely(function, *arguments):
    """Does the same as `attempt` for a result that is JSON already, so that one part that fails does not hide the
    remaining parts."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - the outcome is data here
        return f"!{type(error).__name__}"


def attributes(obj):
    """Returns all attributes of an object, in both orders if it has two."""
    # Natively, attributes have numbers even if their order is not tracked, and these numbers change when other
    # attributes are deleted.
    plist = obj.id.get_create_plist() if not isinstance(obj, h5py.Datatype) else None
    ordered = plist is not None and plist.get_attr_creation_order() & h5p.CRT_ORDER_TRACKED

    def one(name):
        attr = h5a.open(obj.id, name)
        info = h5a.get_info(obj.id, name)
        return {"name": name.decode(), "type": show_type(attr.get_type()), "space": show_space(attr.get_space()),
                "order": [info.corder_valid, info.corder] if ordered else None, "cset": info.cset,
                "size": None if on_heap(attr.get_type()) else info.data_size,
                "value": attempt(obj.attrs.__getitem__, name.decode())}

    shown = []
    for index in (h5py.h5.INDEX_NAME, h5py.h5.INDEX_CRT_ORDER)[:2 if ordered else 1]:
        names = []
        try:
            h5a.iterate(obj.id, names.append, index_type=index, order=h5py.h5.ITER_INC)
        except Exception as error:  # noqa: BLE001 - without creation order
            names = [type(error).__name__.encode()]
        shown.append([safely(one, n) if index == h5py.h5.INDEX_NAME else n.decode() for n in names])
    return shown


def on_heap(tid):
    """Returns whether elements point to variable-length data. Such a pointer takes 16 bytes in a native file, and 20
    in a container."""
    return tid.detect_class(h5t.VLEN) or tid.detect_class(h5t.STRING) and "None" in repr(show_type(tid))


def unpack(raw, mask, plist, elsize):
    """Undoes a pipeline of lossless filters that Python has. Returns None for any other pipeline."""
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters()) if not mask >> i & 1]
    if not {h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32, h5z.FILTER_SHUFFLE}.issuperset(codes):
        return None
    for code in reversed(codes):
        if code == h5z.FILTER_DEFLATE:
            raw = zlib.decompress(raw)
        elif code == h5z.FILTER_FLETCHER32:
            raw = raw[:-4]
        else:
            whole = len(raw) // elsize * elsize  # the shuffle filter leaves the bytes of an incomplete element as they are
            raw = np.frombuffer(raw[:whole], "u1").reshape(elsize, -1).T.tobytes() + raw[whole:]
    return raw


def chunks(d):
    """Returns the chunks that a dataset has, their masks, and the part of their elements that is inside the extent."""
    plist, shape, fixed = d.id.get_create_plist(), d.shape, not d.dtype.hasobject
    if plist.get_layout() != h5d.CHUNKED:
        return None
    unlimited = [n is None for n in d.maxshape]
    if d.file.libver[0] != "earliest" and unlimited.count(True) == 1 and not unlimited[0]:
        return None  # native HDF5 returns wrong coordinates from an index whose dimensions it has swapped
    shown, chunk, filtered = [], plist.get_chunk(), plist.get_nfilters()
    for at in np.ndindex(*(-(-n // c) for n, c in zip(shape, chunk))):
        info = d.id.get_chunk_info_by_coord(tuple(int(i * c) for i, c in zip(at, chunk)))
        if info.byte_offset is None:
            continue
        mask, raw = info.filter_mask, d.id.read_direct_chunk(info.chunk_offset)[1]
        # Encoders may produce different bytes for the same data.
        size = None if filtered or on_heap(d.id.get_type()) else info.size
        raw = unpack(raw, mask, plist, d.id.get_type().get_size()) if fixed else None
        if raw is not None and d.dtype.itemsize * int(np.prod(chunk)) == len(raw):
            inside = tuple(slice(0, max(0, n - o)) for n, o in zip(shape, info.chunk_offset))
            cells = np.frombuffer(raw, f"V{d.dtype.itemsize}").reshape(chunk)[inside]
            raw = brief(cells.tobytes())
        elif raw is not None:
            raw = len(raw)
        # The address is left out, because a container has none. The mask bit of a compressor is left out too, because
        # the compressor decides whether a chunk becomes smaller or the filter is skipped. Behind a compressor the bits of
        # szip and scale-offset are left out as well: szip skips bytes that it cannot shorten (H5Z__filter_szip), which
        # depends on the compressor's encoding, and scale-offset takes these bytes for as many elements as the chunk has
        # (H5Z__filter_scaleoffset), natively even if they are fewer, while h5lake skips the filter.
        compressed = False
        for i in range(filtered):
            code = plist.get_filter(i)[0]
            if code in (h5z.FILTER_DEFLATE, h5z.FILTER_LZF) or compressed and code in (h5z.FILTER_SZIP, h5z.FILTER_SCALEOFFSET):
                mask &= ~(1 << i)
                raw = raw if code == h5z.FILTER_DEFLATE else None
            compressed |= code in (h5z.FILTER_DEFLATE, h5z.FILTER_LZF)
        # H5Dread_chunk of HDF5 2.0 always says that no filter was skipped, so the mask comes from the chunk's
        # information. Filters decline variable-length data. A chunk with fill values alone says so in a native file,
        # but not in a container.
        mask = None if on_heap(d.id.get_type()) else mask
        shown.append([list(info.chunk_offset), mask, size, raw])
    return [shown, d.id.get_num_chunks()]


def dataset(d):
    plist, tid = d.id.get_create_plist(), d.id.get_type()
    shown = {"type": show_type(tid), "space": show_space(d.id.get_space()),
             "dcpl": show_dcpl(plist, d.file.libver[0] != "earliest", on_heap(tid)),
             "fill": attempt(lambda: d.fillvalue), "status": d.id.get_space_status()}
    # The size of a filtered chunk and the additional storage of indexes are not defined.
    if not plist.get_nfilters() and not on_heap(tid):
        shown["storage"] = d.id.get_storage_size()
    shown["data"] = attempt(lambda: d[()])
    shown["chunks"] = attempt(chunks, d)
    return shown


def one_object(obj):
    """Describes one object, without its members."""
    info = h5o.get_info(obj.id)
    shown = {"kind": info.type, "rc": info.rc, "attributes": h5a.get_num_attrs(obj.id),
             "comment": attempt(comment, obj.id), "list": safely(attributes, obj)}
    if isinstance(obj, h5py.Dataset):
        shown["dataset"] = safely(dataset, obj)
    elif isinstance(obj, h5py.Datatype):
        shown["committed"] = [show_type(obj.id), obj.id.committed()]
    else:
        plist = obj.id.get_create_plist()
        shown["group"] = [plist.get_link_creation_order(), plist.get_attr_creation_order(), len(obj)]
    return shown


def dump(file):
    """Describes everything that is visible in a file, each object once."""
    seen, shown = {}, []
    FILES["looking at"] = next(key for key in ("f", "g") if FILES.get(key) is file)

    def walk(path, group):
        for index in (h5py.h5.INDEX_NAME, h5py.h5.INDEX_CRT_ORDER):
            names = []
            try:
                group.id.links.iterate(names.append, idx_type=index, order=h5py.h5.ITER_INC)
            except Exception as error:  # noqa: BLE001 - without creation order
                names = [type(error).__name__.encode()]
            shown.append([path, index == h5py.h5.INDEX_NAME, [n.decode("utf-8", "surrogateescape") for n in names]])
        ordered = group.id.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED
        for name in sorted(group):
            link = group.id.links.get_info(name.encode("utf-8", "surrogateescape"))
            # Natively, a link that was moved keeps its number, even in a group that does not track the order.
            line = [path + name, link.type, [link.corder_valid, link.corder] if ordered else None, link.cset]
            if link.type != h5l.TYPE_HARD:
                # Other steps compare the reason why a link leads nowhere.
                kind = safely(lambda: type(group[name]).__name__)
                line += [show(group.get(name, getlink=True)), "nowhere" if kind.startswith("!") else kind]
                shown.append(line)
                continue
            obj = group[name]
            first = seen.setdefault(h5o.get_info(obj.id).addr, path + name)
            shown.append(line + ([one_object(obj)] if first == path + name else [first]))
            if first == path + name and isinstance(obj, h5py.Group):
                walk(path + name + "/", obj)

    seen[h5o.get_info(file.id).addr] = "/"
    shown.append(["/", one_object(file["/"])])
    walk("/", file["/"])
    FILES["looking at"] = "f"
    return shown
