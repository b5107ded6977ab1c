"""Virtual chunks of Icechunk, made from a file of references."""

import asyncio
import base64
import json
from collections import defaultdict
from pathlib import Path

from . import _icechunk_repository, _icechunk_urls, _zarr_fill
from ._errors import REFUSALS, line
from ._references import _bytes, _need


def _documents(refs, end):
    """Returns the paths and documents of metadata with keys that end with `end`."""
    return {key[: -len(end)].strip("/"): json.loads(refs[key]) for key in refs if key == end or key.endswith("/" + end)}


def _why_not(document):
    """Returns why Zarr 3 cannot show the bytes of an array; None if it can. Zarr 3 has one byte order for all members
    of a compound, and readers assume little-endian."""
    if isinstance(document["dtype"], list) and any(dtype.startswith(">") for _, dtype in document["dtype"]):
        return "Zarr 3 has no compounds with members whose first byte counts most"
    return None


def _fill(document, dtype):
    """Returns the fill value of a document of version 2 as zarr-python accepts it."""
    import numpy as np

    fill = document["fill_value"]
    if fill is None and getattr(dtype, "names", None):
        # For null, zarr-python would make the text "0" in a compound.
        return np.zeros((), dtype)[()]
    if fill is None or dtype in ("string", "variable_length_bytes"):
        return fill
    if dtype.kind == "c" and isinstance(fill, list):
        return np.array(complex(*map(float, fill)), dtype)[()]
    if dtype.kind in "Mm":
        return np.array(fill, "i8").astype(dtype)[()]
    if isinstance(fill, str) and fill not in ("NaN", "Infinity", "-Infinity"):
        return np.frombuffer(base64.b64decode(fill), dtype)[0]
    return float(fill) if isinstance(fill, str) else fill


def _array(zarr, codecs, group, path, document, attributes, left_out):
    """Makes the array that a document of version 2 describes, with the same bytes in its chunks."""
    import numpy as np

    dtype, filters = document["dtype"], list(document["filters"] or [])
    more = {}
    if dtype == "|O":
        kind = filters.pop(0)["id"]
        dtype, more["serializer"] = ("string", zarr.codecs.VLenUTF8Codec()) if kind == "vlen-utf8" else ("variable_length_bytes", zarr.codecs.VLenBytesCodec())
    else:
        dtype = np.dtype([tuple(field) for field in dtype] if isinstance(dtype, list) else dtype)
        more["serializer"] = zarr.codecs.BytesCodec(endian="big" if dtype.byteorder == ">" else "little")
    names = {"zlib": "Zlib", "shuffle": "Shuffle", "fletcher32": "Fletcher32", "bz2": "BZ2", "blosc": "Blosc", "zstd": "Zstd"}
    made = []
    for codec in filters:
        options = {key: value for key, value in codec.items() if key != "id"}
        made.append(getattr(codecs, names[codec["id"]])(**options))
    if _zarr_fill.MISSING in attributes:
        try:
            attributes[_zarr_fill.MISSING] = _zarr_fill.encoded(attributes[_zarr_fill.MISSING], dtype)
        except REFUSALS as error:
            del attributes[_zarr_fill.MISSING]
            left_out.append((f"/{path}@{_zarr_fill.MISSING}", str(error)))
    dimensions = attributes.pop("_ARRAY_DIMENSIONS", None)
    group.create_array(path, shape=tuple(document["shape"]), chunks=tuple(document["chunks"]), dtype=dtype, compressors=made or None,
                       filters=None, fill_value=_fill(document, dtype), dimension_names=dimensions,
                       attributes=_shown(path, attributes, left_out), **more)


def _shown(path, attributes, left_out):
    """Returns the attributes of a group or array that Icechunk can store. zarr-python and references use Python's words
    for NaN and infinities, which are not JSON; texts in their place would be other values."""
    shown = {}
    for name, value in attributes.items():
        try:
            json.dumps(value, allow_nan=False)
            shown[name] = value
        except ValueError:
            left_out.append((f"/{path}@{name}", "Icechunk has no NaN and no infinity in attributes"))
    return shown


def _chunks(refs, arrays):
    """Returns the references to the chunks of arrays, by path: index, URL, offset and length of each, and the bytes of
    copies by key."""
    virtual, copies = defaultdict(list), defaultdict(dict)
    for key, value in refs.items():
        path, _, name = key.rpartition("/")
        if path not in arrays or name.startswith("."):
            continue
        index = [int(n) for n in name.split(".")] if arrays[path]["shape"] else []
        if isinstance(value, list):
            virtual[path].append((index, *value))
        else:
            copies[path][_key(path, index)] = _bytes(value)
    return virtual, copies


def _key(path, index):
    return "/".join([path, "c", *map(str, index)])


def to_icechunk(references: Path, target: Path) -> "list[tuple[str, str]]":
    """Makes a repository in a folder with a branch `main` that shows the references. When this returns, that is
    committed. In an existing repository of h5lake, it is one more snapshot. Returns the paths that Zarr 3 cannot show,
    each with a reason. After an error nothing is changed."""
    icechunk, zarr, codecs = _need("icechunk", "zarr", "numcodecs.zarr3")
    whole = json.loads(references.read_text())
    refs = whole["refs"]
    arrays, groups, attributes = (_documents(refs, end) for end in (".zarray", ".zgroup", ".zattrs"))
    left_out = [(f"/{path}", _why_not(document)) for path, document in arrays.items() if _why_not(document)]
    arrays = {path: document for path, document in arrays.items() if not _why_not(document)}
    virtual, copies = _chunks(refs, arrays)
    urls = {chunk[1] for chunks in virtual.values() for chunk in chunks}
    containers = {container.url_prefix: (container, reader) for container, reader in (_icechunk_urls.container(icechunk, url) for url in urls)}
    objects, mode = whole.get("objects", {}), references.stat().st_mode & 0o666
    places = {url: (_icechunk_urls.encoded(url), _icechunk_urls.checksum(objects.get(url, {}))) for url in urls}
    with _icechunk_repository.committing(icechunk, target, containers.values(), whole.get("h5lake", {}), mode) as session:
        root = zarr.open_group(session.store, mode="w", zarr_format=3, attributes=_shown("", attributes.get("", {}), left_out))
        for path in filter(None, groups):
            root.create_group(path, attributes=_shown(path, attributes.get(path, {}), left_out), overwrite=False)
        shown = []
        for path, document in arrays.items():
            try:
                _array(zarr, codecs, root, path, document, dict(attributes.get(path, {})), left_out)
                shown.append(path)
            except REFUSALS as error:
                left_out.append((f"/{path}", line(error)))
        for path in shown:
            _refer(icechunk, session.store, path, virtual[path], places)
        _put(zarr, session.store, {key: data for path in shown for key, data in copies[path].items()})
        _icechunk_urls.check([(_key(path, index), *place) for path in shown for index, *place in virtual[path]], _reader(zarr, session.store))
    return left_out


def _refer(icechunk, store, path, chunks, places):
    """Gives an array its virtual chunks. `places` has the encoded URL of each URL, and the checksum. Icechunk compares
    containers with encoded URLs here, and with decoded ones when it reads: its check would refuse folders with names
    that need an encoding."""
    specs = [icechunk.VirtualChunkSpec(index, places[url][0], offset, length, **places[url][1]) for index, url, offset, length in chunks]
    if specs:
        store.set_virtual_refs(f"/{path}", specs, validate_containers=False)


def _reader(zarr, store):
    """Reads the bytes of a key."""
    prototype = zarr.core.buffer.default_buffer_prototype()

    async def read(key):
        found = await store.get(key, prototype)
        return found and found.to_bytes()

    return lambda key: asyncio.run(read(key))


def _put(zarr, store, copies):
    prototype = zarr.core.buffer.default_buffer_prototype()

    async def put():
        for key, value in copies.items():
            await store.set(key, prototype.buffer.from_bytes(value))

    asyncio.run(put())
