"""Functions that h5py lacks, called in the libhdf5 that it has loaded: they read sequences of compounds, and create,
store and follow references of the kind that HDF5 1.12 introduced (`H5R_ref_t`). The results have the form of
compared.py."""

import ctypes
import re
import struct

import h5py
import hdf5_selections
import numpy as np

OBJECT, REGION, ATTRIBUTE = 2, 3, 4
KINDS = {OBJECT: "object", REGION: "region", ATTRIBUTE: "attribute"}
OLD_OBJECT, OLD_REGION, NEW = 8, 12, 64  # bytes in memory
ID, TEXT = ctypes.c_int64, ctypes.c_char_p


def _library():
    h5py.h5.get_libversion()
    with open("/proc/self/maps") as maps:
        mapped = {line.split()[-1] for line in maps if re.search(r"/libhdf5[-.][^/]*$", line)}
    return ctypes.CDLL(next(path for path in mapped if "_hl" not in path))


LIBRARY = _library()


class Reference(ctypes.Structure):
    """An H5R_ref_t."""
    _fields_ = [("words", ctypes.c_uint64 * 8)]


class Sequence(ctypes.Structure):
    """An hvl_t."""
    _fields_ = [("length", ctypes.c_size_t), ("first", ctypes.c_void_p)]


def call(name, *arguments, gives=ID):
    """Calls a function of libhdf5. Integers are 64 bits wide unless the argument is a ctypes object. A negative
    result is an error."""
    function = getattr(LIBRARY, name)
    function.restype = gives
    result = function(*(ID(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        LIBRARY.H5Eprint2(ID(0), None)
        raise OSError(f"{name} failed")
    return result


def status(name, *arguments):
    return call(name, *arguments, gives=ctypes.c_int)


def type_of(identifier):
    """Returns h5py's object for a datatype, of the class with the needed methods."""
    plain = h5py.h5t.TypeID(identifier)
    kinds = {h5py.h5t.REFERENCE: h5py.h5t.TypeReferenceID, h5py.h5t.COMPOUND: h5py.h5t.TypeCompoundID,
             h5py.h5t.VLEN: h5py.h5t.TypeVlenID, h5py.h5t.ARRAY: h5py.h5t.TypeArrayID}
    if plain.get_class() not in kinds:
        return plain
    status("H5Iinc_ref", identifier)  # both objects decrement the count
    return kinds[plain.get_class()](identifier)


def new_type():
    """H5T_STD_REF."""
    return type_of(call("H5Tcopy", ID.in_dll(LIBRARY, "H5T_STD_REF_g").value))


def sequence_of(base):
    return type_of(call("H5Tvlen_create", base.id))


def array_of(base, count):
    return type_of(call("H5Tarray_create2", base.id, ctypes.c_uint(1), ctypes.byref(ctypes.c_uint64(count))))


def compound_of(size, **members):
    """Creates a compound of members given as (offset, type) by name."""
    made = type_of(call("H5Tcreate", ctypes.c_int(h5py.h5t.COMPOUND), size))
    for name, (offset, member) in members.items():
        status("H5Tinsert", made.id, name.encode(), offset, member.id)
    return made


def refer(f, path, region=None, attribute=None):
    """Returns a new reference to an object, to a region of it (a SpaceID), or to an attribute of it."""
    made, path = Reference(), path.encode()
    if region is not None:
        status("H5Rcreate_region", f.id.id, path, region.id, 0, ctypes.byref(made))
    elif attribute is not None:
        status("H5Rcreate_attr", f.id.id, path, attribute.encode(), 0, ctypes.byref(made))
    else:
        status("H5Rcreate_object", f.id.id, path, 0, ctypes.byref(made))
    return made


def dataset(f, name, kind, shape, data, chunk=None):
    """Creates a dataset of a type, and writes elements as they are in memory."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunk:
        create.set_chunk(chunk)
        create.set_deflate(4)
    made = h5py.h5d.create(f.id, name.encode(), kind, h5py.h5s.create_simple(shape), create)
    if data is not None:
        status("H5Dwrite", made.id, kind.id, 0, 0, 0, data)
    return h5py.Dataset(made)


def attribute(item, name, kind, shape, data):
    """Does the same for an attribute."""
    space = h5py.h5s.create_simple(shape)
    made = call("H5Acreate2", item.id.id, name.encode(), kind.id, space.id, 0, 0)
    status("H5Awrite", made, kind.id, data)
    status("H5Aclose", made)


def is_needed(kind):
    """Returns whether h5py cannot read elements of a type: new references, and sequences of compounds."""
    if kind.get_class() == h5py.h5t.REFERENCE:
        return kind.get_size() not in (OLD_OBJECT, OLD_REGION)
    if kind.get_class() == h5py.h5t.COMPOUND:
        return any(is_needed(kind.get_member_type(n)) for n in range(kind.get_nmembers()))
    if kind.get_class() == h5py.h5t.VLEN and kind.get_super().get_class() == h5py.h5t.COMPOUND:
        return True
    return kind.get_class() in (h5py.h5t.VLEN, h5py.h5t.ARRAY) and is_needed(kind.get_super())


def read(f, item, shape):
    """Returns all elements of a dataset (h5d) or an attribute (h5a), in the form of compared.py."""
    stored = item.get_type()
    kind = type_of(call("H5Tget_native_type", stored.id, ctypes.c_int(0)))
    count, size = int(np.prod(shape, dtype=object)), kind.get_size()
    data = ctypes.create_string_buffer(max(1, count * size))
    if isinstance(item, h5py.h5a.AttrID):
        status("H5Aread", item.id, kind.id, data)
    else:
        status("H5Dread", item.id, kind.id, 0, 0, 0, data)
    found = np.empty(shape, object)
    flat = found.reshape(-1)
    for n in range(count):
        flat[n] = element(f, kind, ctypes.addressof(data) + n * size)
    space = h5py.h5s.create_simple((count,))
    status("H5Treclaim", kind.id, space.id, 0, data)
    return nested(found)


def nested(found):
    if not isinstance(found, np.ndarray):
        return found
    return nested(found[()]) if found.shape == () else [nested(v) for v in found]


def element(f, kind, at):
    """Returns one element at an address in memory."""
    of_class = kind.get_class()
    if of_class == h5py.h5t.COMPOUND:
        return tuple(element(f, kind.get_member_type(n), at + kind.get_member_offset(n)) for n in range(kind.get_nmembers()))
    if of_class == h5py.h5t.ARRAY:
        return items(f, kind.get_super(), at, kind.get_size() // kind.get_super().get_size())
    if of_class == h5py.h5t.VLEN:
        sequence = Sequence.from_address(at)
        return items(f, kind.get_super(), sequence.first, sequence.length)
    if of_class == h5py.h5t.REFERENCE:
        by_size = {OLD_OBJECT: old_object, OLD_REGION: old_region, NEW: follow}
        return by_size[kind.get_size()](f, at)
    if of_class == h5py.h5t.STRING and kind.is_variable_str():
        return ctypes.cast(at, ctypes.POINTER(TEXT)).contents.value or b""
    number = np.frombuffer(ctypes.string_at(at, kind.get_size()), kind.dtype)[0].item()
    return struct.pack("<d", number).hex() if isinstance(number, float) else number


def items(f, kind, at, count):
    return [element(f, kind, at + n * kind.get_size()) for n in range(count)]


def name_by(function, *arguments):
    buffer = ctypes.create_string_buffer(2000)
    call(function, *arguments, buffer, len(buffer), gives=ctypes.c_ssize_t)
    return buffer.value.decode()


def old_object(f, at):
    if not any(ctypes.string_at(at, OLD_OBJECT)):
        return "object", None
    return "object", name_by("H5Rget_name", f.id.id, ctypes.c_int(0), ctypes.c_void_p(at))


def old_region(f, at):
    if not any(ctypes.string_at(at, OLD_REGION)):
        return "region", None
    space = h5py.h5s.SpaceID(call("H5Rget_region", f.id.id, ctypes.c_int(1), ctypes.c_void_p(at)))
    return "region", name_by("H5Rget_name", f.id.id, ctypes.c_int(1), ctypes.c_void_p(at)), hdf5_selections.of_library(space)


def follow(f, at):
    """Returns the target of a new reference: its kind, its file if that is another one, the object, and the part of
    it."""
    reference = ctypes.c_void_p(at)
    kind = LIBRARY.H5Rget_type(reference) if any(ctypes.string_at(at, NEW)) else 0
    if kind <= 0:
        return "new", None
    file, name = name_by("H5Rget_file_name", reference), name_by("H5Rget_obj_name", reference, 0)
    found = "new", KINDS[kind], None if file == f.filename else file, name
    if kind == REGION:
        space = h5py.h5s.SpaceID(call("H5Ropen_region", reference, 0, 0))
        return *found, hdf5_selections.of_library(space)
    return found if kind == OBJECT else (*found, name_by("H5Rget_attr_name", reference))
