"""References in other forms: Parquet as kerchunk has it, and virtual chunks of Icechunk. Both are made of a file of references."""

import base64
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path

#: Rows of a Parquet file. Readers take the number from the metadata, and a file has all of them.
ROWS = 10_000
#: The longest name in a folder.
MAX_NAME_BYTES = 255
#: The files of a folder of Parquet files.
PARQUET_FILE = re.compile(r"\.zmetadata|refs\.\d+\.parq")


def _need(*names):
    """The modules of these names; an error that names what is missing."""
    found = []
    for name in names:
        try:
            found.append(__import__(name, fromlist=["_"]))
        except ImportError as error:
            raise ImportError(f"the package {name.split('.')[0]} is missing: {error}") from None
    return found


def to_parquet(references: Path, target: Path) -> list:
    """A folder of Parquet files, as kerchunk and fsspec read it: `.zmetadata`, and for each array files of `ROWS` chunks in C order.
    When this returns it is whole. An earlier one is replaced. Returns what is left out, with reasons: arrays are folders, whose names
    have a bound."""
    pyarrow, parquet = _need("pyarrow", "pyarrow.parquet")
    refs = json.loads(references.read_text())["refs"]
    is_old = _is_parquet(target)
    metadata, chunks, too_long = {}, defaultdict(dict), set()
    for key, value in refs.items():
        path, _, name = key.rpartition("/")
        if key == ".zmetadata":
            continue
        if long := _beyond_bound(path):
            too_long.add(long)
            continue
        if name.startswith(".z"):
            metadata[key] = json.loads(value)
        else:
            chunks[path][name] = value
    new = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        (new / ".zmetadata").write_text(json.dumps({"metadata": metadata, "record_size": ROWS}))
        for path, found in chunks.items():
            (new / path).mkdir(parents=True, exist_ok=True)
            for number, rows in _records(metadata[f"{path}/.zarray"], found).items():
                parquet.write_table(_table(pyarrow, rows), new / path / f"refs.{number}.parq")
        if is_old:
            shutil.rmtree(target)
        new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [(f"/{path}", f"a folder has no names of more than {MAX_NAME_BYTES} bytes") for path in sorted(too_long)]


def _beyond_bound(path):
    """A path up to its first name that no folder can have, or nothing."""
    names = path.split("/")
    long = (n for n, name in enumerate(names, 1) if len(os.fsencode(name)) > MAX_NAME_BYTES)
    return "/".join(names[:next(long, 0)])


def _is_parquet(target):
    """Whether a folder of references in Parquet is at a path; another thing is an error. Hierarchies of Zarr 2 have a `.zmetadata`, too."""
    if not os.path.lexists(target):
        return False
    files = [name for _, _, names in os.walk(target) for name in names]
    about = target / ".zmetadata"
    is_ours = about.is_file() and "record_size" in json.loads(about.read_text()) and all(PARQUET_FILE.fullmatch(name) for name in files)
    if not is_ours:
        raise FileExistsError(f"{target}: something else is there; name another folder")
    return True


def _records(array, found):
    """The chunks of an array by file and row."""
    grid = [-(-side // chunk) for side, chunk in zip(array["shape"], array["chunks"])]
    records = defaultdict(dict)
    for name, value in found.items():
        number = 0
        for at, count in zip(map(int, name.split(".")), grid):
            number = number * count + at
        records[number // ROWS][number % ROWS] = value
    return records


def _table(pyarrow, rows):
    """The columns of one file. Readers take a column that is not there for nulls; some take nulls of a column for NaN."""
    all_of = [rows.get(n) for n in range(ROWS)]
    places = [value if isinstance(value, list) else [None, 0, 0] for value in all_of]
    copies = [_bytes(value) if isinstance(value, str) else None for value in all_of]
    columns = {"path": pyarrow.array([place[0] for place in places], pyarrow.string()),
               "offset": pyarrow.array([place[1] for place in places], pyarrow.int64()),
               "size": pyarrow.array([place[2] for place in places], pyarrow.int64())}
    if any(copy is not None for copy in copies):
        columns["raw"] = pyarrow.array(copies, pyarrow.binary())
    return pyarrow.table(columns)


def _bytes(value):
    if isinstance(value, str):
        return base64.b64decode(value[7:]) if value.startswith("base64:") else value.encode()
    return value


def main(arguments) -> int:
    """`references KIND FILE TARGET`: what the tool starts. What is not shown goes to standard output, as JSON; an error is one line."""
    from . import _icechunk

    kind, source, target = arguments
    made = {"parquet": to_parquet, "icechunk": _icechunk.to_icechunk}[kind]
    try:
        left_out = made(Path(source), Path(target)) or []
        print(json.dumps([{"path": path, "reason": why} for path, why in left_out]))
    except Exception as error:  # Whatever it is, the tool says it in one line.
        print(f"{error or type(error).__name__}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0
