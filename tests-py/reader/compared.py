"""The content of a file as plain Python objects: read by h5py, and read by the independent reader. The two must be
equal."""

import hashlib
import struct

import by_libhdf5
import h5py
import hdf5_selections
import numpy as np
from h5lake_reader import Container, Object
from new_references import NewReference

# The modification time of the native file of a sample. The container has the time in it, and no archive stores it.
SOURCE_TIME = 1_577_836_800


def plain(value):
    """Returns a value without NumPy: numbers, bytes, lists, tuples."""
    if isinstance(value, h5py.Empty) or value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, np.ndarray) and value.dtype.kind == "V" and value.dtype.names is None or isinstance(value, np.void) \
            and value.dtype.names is None:
        return [bytes(v) for v in value.reshape(-1)] if value.shape else bytes(value)
    if isinstance(value, np.ndarray) and value.size > 2000 and value.dtype.kind in "iuf":
        wide = value.astype("<f8" if value.dtype.kind == "f" else "<i8")
        return value.shape, hashlib.sha256(np.ascontiguousarray(wide)).hexdigest()
    if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
        return value.tolist()
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.void):
        return tuple(plain(value[name]) for name in value.dtype.names)
    if isinstance(value, np.bytes_):
        return bytes(value)
    if isinstance(value, (complex, np.complexfloating)):
        return plain(value.real), plain(value.imag)
    if isinstance(value, (float, np.floating)):
        return struct.pack("<d", float(value)).hex()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    return value


def by_h5py(f):
    """Returns {path: content} of an open file."""
    found, seen = {}, set()

    def value_of(item, value):
        def resolved(v):
            if isinstance(v, h5py.RegionReference):
                if not v:
                    return "region", None
                return "region", f[v].name, hdf5_selections.of_library(h5py.h5r.get_region(v, f.id))
            if isinstance(v, h5py.Reference):
                return ("object", f[v].name) if v else ("object", None)
            if isinstance(v, np.ndarray) and v.dtype == object:
                return [resolved(e) for e in v]
            if isinstance(v, np.void) and v.dtype.names:
                return tuple(resolved(v[name]) for name in v.dtype.names)
            if isinstance(v, np.ndarray) and v.dtype.names:
                return [resolved(e) for e in v]
            return plain(v)
        return resolved(value)

    def attribute(item, name):
        low = h5py.h5a.open(item.id, name.encode())
        if by_libhdf5.is_needed(low.get_type()):
            return by_libhdf5.read(f, low, low.shape)
        return value_of(item, item.attrs[name])

    def committed(kind):
        """Returns the path of a dataset's committed type."""
        return {"committed": h5py.h5i.get_name(kind).decode()} if kind.committed() else {}

    def visit(path, item):
        token = h5py.h5o.get_info(item.id).addr
        here = found[path] = {"attributes": {k: attribute(item, k) for k in sorted(item.attrs)}}
        if isinstance(item, h5py.Dataset):
            here["shape"], low = item.shape, by_libhdf5.is_needed(item.id.get_type())
            here |= committed(item.id.get_type())
            here["value"] = by_libhdf5.read(f, item.id, item.shape) if low else value_of(item, item[()])
        if isinstance(item, h5py.Datatype):
            here["type"] = item.id.get_class(), item.id.get_size()
        if not isinstance(item, h5py.Group) or token in seen:
            return
        seen.add(token)
        here["links"] = {}
        for name in item:
            link = item.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):
                here["links"][name] = "soft", link.path
            elif isinstance(link, h5py.ExternalLink):
                here["links"][name] = "external", (link.filename, link.path)
            else:
                here["links"][name] = "hard",
                visit(f"{path}{name}/", item[name])
    visit("/", f["/"])
    return found


def by_reader(path, version=None, branch=None):
    """Returns the same, read from the bytes."""
    c = Container(path, version, branch)
    found, seen, names = {}, set(), names_of(c)

    def leads_to(v):
        if v.kind is None:
            return "new", None
        there = names if v.file is None else names_of(Container(v.file))
        what = "new", v.kind, v.file, there[v.identity]
        if v.kind == "region":
            shape = Object(c if v.file is None else Container(v.file), v.identity).space.shape
            return *what, v.selection.coordinates(shape).tolist()
        return what if v.kind == "object" else (*what, v.attribute)

    def region(encoded):
        if not any(encoded):
            return "region", None
        identity, selected = c.region(encoded)
        selected = hdf5_selections.dataspace(selected)
        return "region", names[identity], selected.coordinates(selected.shape).tolist()

    def resolved(v):
        if isinstance(v, NewReference):
            return leads_to(v)
        if isinstance(v, tuple) and len(v) == 2 and v[0] == "object":
            return "object", names[v[1]] if v[1] else None
        if isinstance(v, tuple) and len(v) == 2 and v[0] == "region":
            return region(v[1])
        if isinstance(v, np.ndarray) and v.dtype == object:
            return resolved(v[()]) if v.shape == () else [resolved(e) for e in v]
        if isinstance(v, (list, tuple)):
            return type(v)(resolved(e) for e in v)
        return plain(v if not isinstance(v, np.ndarray) or v.shape else v[()])

    def visit(path, item):
        here = found[path] = {"attributes": {k: resolved(a.read()) for k, a in sorted(item.attributes().items())}}
        if item.kind == "dataset":
            here["shape"], here["value"] = None if item.space.null else item.space.shape, resolved(item.read())
            here |= {} if item.type.committed is None else {"committed": names[item.type.committed]}
        if item.kind == "datatype":
            here["type"] = item.type.klass, item.type.type.size
        if item.kind != "group" or item.identity in seen:
            return
        seen.add(item.identity)
        here["links"] = {}
        for name, link in item.links().items():
            here["links"][name] = ("hard",) if link.kind == "hard" else (link.kind, link.target)
            if link.kind == "hard":
                visit(f"{path}{name}/", Object(c, link.target))
    visit("/", c.root)
    return found


def names_of(c):
    """Returns {id: a path} of all objects."""
    names = {}

    def walk(path, item):
        first = item.identity not in names
        names.setdefault(item.identity, path.rstrip("/") or "/")
        if item.kind == "group" and first:
            for name, link in item.links().items():
                if link.kind == "hard":
                    walk(f"{path}{name}/", Object(c, link.target))
    walk("/", c.root)
    return names


def without_selections(found):
    """Converts to the form of the first samples: regions of old references with the dataset alone."""
    if isinstance(found, dict):
        return {key: without_selections(value) for key, value in found.items()}
    if isinstance(found, tuple) and found[:1] == ("region",):
        return found[:2]
    return type(found)(map(without_selections, found)) if isinstance(found, (list, tuple)) else found


def differences(a, b, where=""):
    """Yields the differences, one line each."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            if key not in a or key not in b:
                yield f"{where}[{key!r}] is only on one side"
            else:
                yield from differences(a[key], b[key], f"{where}[{key!r}]")
    elif a != b:
        yield f"{where}: {str(a)[:200]} and {str(b)[:200]}"


def agree(a, b):
    found = list(differences(a, b))
    assert not found, "\n".join(found[:10])
