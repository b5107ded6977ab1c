"""References in kerchunk's Parquet format, made from a file of references."""

import json
import os
import re
from collections import defaultdict
from pathlib import Path

from . import _temporary
from ._names import MAX_NAME_BYTES, TOO_LONG
from ._references import _bytes, _need

#: The number of rows of a Parquet file. Readers take the number from the metadata, and every file has all of its rows.
ROWS = 10_000
#: The key in `.zmetadata` that names the shown container, and marks the folder as one that h5lake made. Readers ignore
#: it.
MARK = "h5lake"
#: The files of a folder of Parquet files.
PARQUET_FILE = re.compile(r"\.zmetadata|refs\.\d+\.parq")


def to_parquet(references: Path, target: Path) -> "list[tuple[str, str]]":
    """Makes a folder of Parquet files, as kerchunk and fsspec read it: `.zmetadata`, and for each array files of `ROWS`
    chunks in C order. It has the permissions of `references`. When this returns, the folder is complete and on stable
    storage. An earlier folder of h5lake's is replaced; after an error it is there as before. Returns the arrays that
    are left out, with reasons: arrays are folders, and the length of their names is limited."""
    pyarrow, parquet = _need("pyarrow", "pyarrow.parquet")
    whole = json.loads(references.read_text())
    _check_is_ours(target)
    metadata, chunks, too_long = _sorted(whole["refs"])
    with _temporary.folder(target, "parquet") as new:
        about = {"metadata": metadata, "record_size": ROWS, MARK: whole.get("h5lake", {})}
        (new / ".zmetadata").write_text(json.dumps(about))
        for path, found in chunks.items():
            (new / path).mkdir(parents=True, exist_ok=True)
            for number, rows in _records(metadata[f"{path}/.zarray"], found).items():
                parquet.write_table(_table(pyarrow, rows), new / path / f"refs.{number}.parq")
        _temporary.restrict(new, references.stat().st_mode & 0o666)
        _temporary.sync(new)
        # Another process may have created something there since the start.
        _check_is_ours(target)
        _temporary.put(new, target)
    return [(f"/{path}", TOO_LONG) for path in sorted(too_long)]


def _sorted(refs):
    """Returns documents by key, chunks by array and name, and the paths that are too long."""
    metadata, chunks, too_long = {}, defaultdict(dict), set()
    for key, value in refs.items():
        path, _, name = key.rpartition("/")
        if key == ".zmetadata":
            continue
        if long := _beyond_bound(path):
            too_long.add(long)
        elif name.startswith(".z"):
            metadata[key] = json.loads(value)
        else:
            chunks[path][name] = value
    return metadata, chunks, too_long


def _beyond_bound(path):
    """Returns a path up to its first name that is too long for a folder, or nothing."""
    names = path.split("/")
    long = (n for n, name in enumerate(names, 1) if len(os.fsencode(name)) > MAX_NAME_BYTES)
    return "/".join(names[:next(long, 0)])


def _check_is_ours(target):
    """Raises an error if the object at a path was not made by h5lake, because it may be the only copy of its data."""
    if os.path.lexists(target) and not _is_ours(target):
        raise FileExistsError(f"{target}: something else is there; name another folder")


def _is_ours(target):
    """Returns whether a folder is one of references in Parquet that h5lake made. Hierarchies of Zarr 2 have a
    `.zmetadata`, too, and other tools make folders of the same files."""
    if target.is_symlink() or not target.is_dir():
        return False
    files = [Path(path, name) for path, _, names in os.walk(target) for name in names]
    if not all(PARQUET_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink() for path in files):
        return False
    try:
        about = json.loads((target / ".zmetadata").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and "record_size" in about and MARK in about


def _records(array, found):
    """Returns the chunks of an array by file and row."""
    grid = [-(-side // chunk) for side, chunk in zip(array["shape"], array["chunks"])]
    records = defaultdict(dict)
    for name, value in found.items():
        number = 0
        for at, count in zip(map(int, name.split(".")), grid):
            number = number * count + at
        records[number // ROWS][number % ROWS] = value
    return records


def _table(pyarrow, rows):
    """Returns the columns of one file. Readers take a missing column for nulls; some take nulls of a column for NaN."""
    all_of = [rows.get(n) for n in range(ROWS)]
    places = [value if isinstance(value, list) else [None, 0, 0] for value in all_of]
    copies = [_bytes(value) if isinstance(value, str) else None for value in all_of]
    columns = {"path": pyarrow.array([place[0] for place in places], pyarrow.string()),
               "offset": pyarrow.array([place[1] for place in places], pyarrow.int64()),
               "size": pyarrow.array([place[2] for place in places], pyarrow.int64())}
    if any(copy is not None for copy in copies):
        columns["raw"] = pyarrow.array(copies, pyarrow.binary())
    return pyarrow.table(columns)
