"""Datatypes of the reader as NumPy types, and the conversion of elements in value form to the arrays that h5py returns."""

import json
import sys

import numpy as np

from ._reader import NULL

_ORDERS = {"little": "<", "big": ">"}
_SPAN = np.dtype([("offset", "=u8"), ("length", "=u8")])
#: The names of an enumeration that h5py reads as a boolean.
_BOOLEAN = {"FALSE": 0, "TRUE": 1}
#: The bits of exponent and mantissa of NumPy's floats, by their size.
_FLOATS = {2: (5, 10), 4: (8, 23), 8: (11, 52)}


class Reference(str):
    """A reference: the path of its object, or an empty string for a null reference and for an object without a path.

    `kind` is `object`, `region` or `attribute`; `attribute` the name of the attribute; `file` the name of another file;
    `selection` the selection of a region as HDF5 serializes it; `token` the id of the object."""

    kind = attribute = file = selection = token = None

    @classmethod
    def of(cls, text: bytes) -> "Reference":
        if not text:
            return cls()
        found = json.loads(text)
        made = cls(found["path"] or "")
        made.kind, made.attribute, made.file, made.token = found["kind"], found["attribute"], found["file"], found["token"]
        made.selection = bytes.fromhex(found["selection"]) if found["selection"] else None
        return made

    def __bool__(self):
        return self.token is not None


class Datatype:
    """A datatype. `dtype` is the type of arrays, `raw` that of elements in value form; `convert` makes the one from the
    other, with the bytes of the pool. It is None if both are the same."""

    def __init__(self, described):
        self.dtype, self.raw, self.convert = _types(described)

    def finished(self, raw, pool: bytes):
        """Returns the array for elements in value form."""
        return raw if self.convert is None else self.convert(raw, pool)


def _types(described):
    return _CLASSES[described["class"]](described)


def _order(described) -> str:
    order = described["order"]
    if order not in _ORDERS:
        raise TypeError(f"numbers in the byte order {order} have no NumPy type")
    return _ORDERS[order]


def _plain(dtype):
    return dtype, dtype, None


def _integer(described):
    return _plain(np.dtype(f"{_order(described)}{'i' if described['signed'] else 'u'}{described['size']}"))


def _bitfield(described):
    return _plain(np.dtype(f"{_order(described)}u{described['size']}"))


def _float(described):
    order, size, fields = _order(described), described["size"], described.get("fields")
    if fields is None:
        return _plain(np.dtype(f"{order}f{size}"))
    own = np.finfo(np.longdouble)
    if size == np.dtype(np.longdouble).itemsize > 8 and fields["exponent_bits"] == own.nexp and fields["mantissa_bits"] >= own.nmant:
        return _plain(np.dtype(f"{order}f{size}"))
    fitting = [wide for wide, (exponent, mantissa) in _FLOATS.items()
               if fields["exponent_bits"] <= exponent and fields["mantissa_bits"] <= mantissa]
    if size not in (1, 2, 4, 8) or not fitting or not fields["implied"]:
        raise TypeError(f"a float of {size} bytes with {fields} has no NumPy type")
    dtype = np.dtype(f"{order}f{fitting[0]}")
    return dtype, np.dtype(f"{order}u{size}"), lambda raw, _: _odd_floats(raw, fields).astype(dtype)


def _odd_floats(raw, fields):
    """Returns the values of floats with other fields than those of IEEE 754, as doubles, which hold them exactly."""
    bits = np.asarray(raw).astype(np.uint64)
    mask = lambda count: np.uint64((1 << count) - 1)  # noqa: E731
    mantissa = (bits >> np.uint64(fields["mantissa"])) & mask(fields["mantissa_bits"])
    exponent = ((bits >> np.uint64(fields["exponent"])) & mask(fields["exponent_bits"])).astype(np.int64)
    sign = np.where((bits >> np.uint64(fields["sign"])) & np.uint64(1), -1.0, 1.0)
    scaled, most = mantissa.astype(np.float64) / 2.0 ** fields["mantissa_bits"], (1 << fields["exponent_bits"]) - 1
    value = np.ldexp(np.where(exponent == 0, scaled, 1.0 + scaled), np.maximum(exponent, 1) - fields["bias"])
    value = np.where(exponent == most, np.where(mantissa == 0, np.inf, np.nan), value)
    return sign * value


def _string(described):
    if described.get("variable"):
        kind = str if described["charset"] == "utf8" else bytes
        dtype = np.dtype("O", metadata={"vlen": kind})
        return dtype, _SPAN, lambda raw, pool: _texts(raw, pool, dtype)
    encoding = "utf-8" if described["charset"] == "utf8" else "ascii"
    return _plain(np.dtype(f"S{described['size']}", metadata={"h5py_encoding": encoding}))


def _objects(raw, dtype, make):
    """Returns an array of objects: `make` of the offset and the length of each span. A null span has the length 0."""
    flat = raw.reshape(-1)
    out = np.empty(flat.shape, dtype)
    for n, (offset, length) in enumerate(zip(flat["offset"].tolist(), flat["length"].tolist())):
        out[n] = make(0 if offset == NULL else offset, length)
    return out.reshape(raw.shape)


def _texts(raw, pool, dtype):
    flat = raw.reshape(-1)
    out = np.empty(flat.shape, dtype)
    # A null span has the length 0, whatever its offset.
    out[:] = [pool[offset:offset + length] for offset, length in zip(flat["offset"].tolist(), flat["length"].tolist())]
    return out.reshape(raw.shape)


def _sequence(described):
    base = Datatype(described["base"])
    dtype, empty = np.dtype("O", metadata={"vlen": base.dtype}), np.empty(0, base.dtype)

    def make(raw, pool):
        def one(offset, length):
            if not length:
                return empty.copy()
            return base.finished(np.frombuffer(pool, base.raw, length, offset), pool).copy()
        return _objects(raw, dtype, one)

    return dtype, _SPAN, make


def _reference(described):
    dtype = np.dtype("O", metadata={"ref": Reference})
    return dtype, _SPAN, lambda raw, pool: _objects(raw, dtype, lambda offset, length: Reference.of(pool[offset:offset + length]))


def _opaque(described):
    tag = described["tag"]
    if tag.startswith("NUMPY:"):
        return _plain(np.dtype(tag[6:]))
    return _plain(np.dtype(f"V{described['size']}"))


def _enumeration(described):
    base = Datatype(described["base"])
    values = {name: value for name, value in described["values"]}
    if values == _BOOLEAN:
        if base.raw.itemsize == 1:
            return _plain(np.dtype("bool"))
        return np.dtype("bool"), base.raw, lambda raw, _: raw.astype("bool")
    return _plain(np.dtype(base.dtype, metadata={"enum": values}))


def _array(described):
    base, shape = Datatype(described["base"]), tuple(described["shape"])
    convert = None
    if base.convert is not None:
        # The dimensions of the array are the last ones of an array of its base type.
        convert = lambda raw, pool: base.convert(raw, pool)  # noqa: E731
    return np.dtype((base.dtype, shape)), np.dtype((base.raw, shape)), convert


def _complex(described):
    base = Datatype(described["base"])
    if base.dtype.kind != "f" or base.dtype.itemsize not in (4, 8):
        raise TypeError(f"complex numbers of {base.dtype} have no NumPy type")
    return _plain(np.dtype(f"{base.dtype.byteorder}c{2 * base.dtype.itemsize}".replace("=", "<" if sys.byteorder == "little" else ">")))


def _compound(described):
    members = sorted(described["members"], key=lambda member: member["memory_offset"])
    names = [member["name"] for member in members]
    types = [Datatype(member["type"]) for member in members]
    raw = np.dtype({"names": names, "formats": [of.raw for of in types], "offsets": [member["offset"] for member in members],
                    "itemsize": described["size"]})
    if names == ["r", "i"] and types[0].dtype == types[1].dtype and types[0].dtype.kind == "f" and types[0].convert is None:
        return _complex_of(raw, types[0].dtype)
    memory = np.dtype({"names": names, "formats": [of.dtype for of in types],
                       "offsets": [member["memory_offset"] for member in members], "itemsize": described["memory_size"]})
    if memory == raw and all(of.convert is None for of in types):
        return memory, memory, None

    def convert(elements, pool):
        out = np.zeros(elements.shape, memory)
        for name, of in zip(names, types):
            out[name] = of.finished(elements[name], pool)
        return out

    return memory, raw, convert


def _complex_of(raw, part):
    dtype = np.result_type(part.newbyteorder("="), np.complex64).newbyteorder(part.byteorder)
    if dtype.itemsize == raw.itemsize and raw.fields["r"][1] == 0 and raw.fields["i"][1] == part.itemsize:
        return _plain(dtype)

    def convert(elements, _):
        out = np.empty(elements.shape, dtype)
        out.real, out.imag = elements["r"], elements["i"]
        return out

    return dtype, raw, convert


def _time(_):
    raise TypeError("no NumPy equivalent for HDF5's time type exists")


_CLASSES = {"integer": _integer, "bitfield": _bitfield, "float": _float, "string": _string, "opaque": _opaque,
            "compound": _compound, "reference": _reference, "enum": _enumeration, "vlen": _sequence, "array": _array,
            "complex": _complex, "time": _time}
