"""Virtual chunks of Icechunk, of a file of references."""

import base64
import json
import os
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

from . import _zarr_fill
from ._references import _bytes, _need


def _documents(refs, end):
    """Paths and documents of metadata whose keys end so."""
    return {key[: -len(end)].strip("/"): json.loads(refs[key]) for key in refs if key == end or key.endswith("/" + end)}


def _container(icechunk, url):
    """The virtual chunk container for the URL of a file or object, and who may read it."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        folder = os.path.dirname(rest) + "/"
        return icechunk.VirtualChunkContainer(f"file://{folder}", icechunk.local_filesystem_store(folder)), None
    if scheme == "s3":
        bucket = rest.split("/")[0]
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        store = icechunk.s3_store(region=region, endpoint_url=endpoint, s3_compatible=bool(endpoint), force_path_style=bool(endpoint),
                                  allow_http=bool(endpoint and endpoint.startswith("http://")))
        return icechunk.VirtualChunkContainer(f"s3://{bucket}/", store), icechunk.s3_credentials(from_env=True)
    raise ValueError(f"Icechunk's virtual chunks cannot be at {scheme}://; files and S3 can")


def _checksum(known):
    """By what Icechunk finds that an object is another one: its etag, or the time of its last change."""
    if known["etag"]:
        return {"etag_checksum": known["etag"]}
    return {"last_updated_at_checksum": datetime.fromtimestamp(known["modified"], timezone.utc)}


def _why_not(document):
    """Why Zarr 3 cannot show the bytes of an array; None if it can. It has one byte order for all members of a compound, and readers
    take it for the little one."""
    if isinstance(document["dtype"], list) and any(dtype.startswith(">") for _, dtype in document["dtype"]):
        return "Zarr 3 has no compounds with members whose first byte counts most"
    return None


def _fill(document, dtype):
    """The fill value of a document of version 2 as zarr-python takes it."""
    import numpy as np

    fill = document["fill_value"]
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
        except (TypeError, ValueError) as error:
            del attributes[_zarr_fill.MISSING]
            left_out.append((f"/{path}@{_zarr_fill.MISSING}", str(error)))
    dimensions = attributes.pop("_ARRAY_DIMENSIONS", None)
    group.create_array(path, shape=tuple(document["shape"]), chunks=tuple(document["chunks"]), dtype=dtype, compressors=made or None,
                       filters=None, fill_value=_fill(document, dtype), dimension_names=dimensions, attributes=attributes, **more)


def to_icechunk(references: Path, target: Path) -> "list[tuple[str, str]]":
    """A repository in a folder, whose branch `main` shows the references. When this returns, that is committed. In a repository that
    is there, it is one more snapshot. Returns the paths of what Zarr 3 cannot show, each with a reason."""
    icechunk, zarr, codecs = _need("icechunk", "zarr", "numcodecs.zarr3")
    whole = json.loads(references.read_text())
    refs = whole["refs"]
    is_there = target.exists()
    storage = icechunk.local_filesystem_storage(str(target))
    # Not by the name of a file in it: the versions of Icechunk have others.
    if is_there and not icechunk.Repository.exists(storage):
        raise FileExistsError(f"{target}: something else is there; name another folder")
    arrays, groups, attributes = (_documents(refs, end) for end in (".zarray", ".zgroup", ".zattrs"))
    left_out = [(f"/{path}", _why_not(document)) for path, document in arrays.items() if _why_not(document)]
    arrays = {path: document for path, document in arrays.items() if not _why_not(document)}
    chunks, copies = defaultdict(list), {}
    for key, value in refs.items():
        path, _, name = key.rpartition("/")
        if path not in arrays or name.startswith("."):
            continue
        shape = arrays[path]["shape"]
        index = [int(n) for n in name.split(".")] if shape else []
        if isinstance(value, list):
            chunks[path].append((index, *value))
        else:
            copies["/".join([path, "c", *map(str, index)])] = _bytes(value)
    checks = {url: _checksum(known) for url, known in whole.get("objects", {}).items()}
    containers, credentials = {}, {}
    for url in {chunk[1] for all_of in chunks.values() for chunk in all_of}:
        container, who = _container(icechunk, url)
        containers[container.url_prefix], credentials[container.url_prefix] = container, who
    config = icechunk.RepositoryConfig.default()
    for container in containers.values():
        config.set_virtual_chunk_container(container)
    repository = icechunk.Repository.open_or_create(storage, config, authorize_virtual_chunk_access=icechunk.containers_credentials(credentials))
    repository.save_config()
    session = repository.writable_session("main")
    store = session.store
    root = zarr.open_group(store, mode="w", zarr_format=3, attributes=attributes.get("", {}))
    for path in groups:
        if path:
            root.create_group(path, attributes=attributes.get(path, {}), overwrite=False)
    for path, document in arrays.items():
        _array(zarr, codecs, root, path, document, dict(attributes.get(path, {})), left_out)
        specs = [icechunk.VirtualChunkSpec(index, url, offset, length, **checks.get(url, {})) for index, url, offset, length in chunks[path]]
        if specs:
            store.set_virtual_refs(f"/{path}", specs, validate_containers=True)
    _put(zarr, store, copies)
    about = whole.get("h5lake", {})
    session.commit(f"{about.get('container')}, version {about.get('version')}", allow_empty=True) if _takes_empty(session) else session.commit(
        f"{about.get('container')}, version {about.get('version')}")
    return left_out


def _takes_empty(session):
    import inspect

    return "allow_empty" in inspect.signature(session.commit).parameters


def _put(zarr, store, copies):
    import asyncio

    prototype = zarr.core.buffer.default_buffer_prototype()

    async def put():
        for key, value in copies.items():
            await store.set(key, prototype.buffer.from_bytes(value))

    asyncio.run(put())
