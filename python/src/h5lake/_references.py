"""References in other forms: Parquet as kerchunk has it, and virtual chunks of Icechunk. Both are made of a file of references."""

import base64
import json
import os
import shutil
import sys
from pathlib import Path

#: Rows of a Parquet file. Readers take the number from the metadata.
ROWS = 10_000


def _need(*names):
    """The modules of these names; an error that names what is missing."""
    found = []
    for name in names:
        try:
            found.append(__import__(name, fromlist=["_"]))
        except ImportError as error:
            raise ImportError(f"the package {name.split('.')[0]} is missing: {error}") from None
    return found


def _is_there(target, sign):
    """Whether something made by us may be replaced at a path."""
    if not target.exists():
        return False
    if not (target / sign).exists():
        raise FileExistsError(f"{target}: something else is there; name another folder")
    return True


def to_parquet(references: Path, target: Path) -> None:
    """A folder of Parquet files, as kerchunk and fsspec read it. When this returns it is whole. An earlier one is replaced."""
    fsspec, reference = _need("fsspec", "fsspec.implementations.reference")
    _need("pandas")
    try:
        _need("pyarrow")
        engine = "pyarrow"
    except ImportError:
        _need("fastparquet")
        engine = "fastparquet"
    refs = json.loads(references.read_text())["refs"]
    is_old = _is_there(target, ".zmetadata")
    new = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        out = reference.LazyReferenceMapper.create(str(new), fs=fsspec.filesystem("file"), record_size=ROWS, engine=engine)
        for key, value in refs.items():
            out[key] = _bytes(value)
        out.flush()
        if is_old:
            shutil.rmtree(target)
        new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _bytes(value):
    if isinstance(value, str):
        return base64.b64decode(value[7:]) if value.startswith("base64:") else value.encode()
    return value


def main(arguments) -> int:
    """`references KIND FILE TARGET`: what the tool starts. An error is one line."""
    from . import _icechunk

    kind, source, target = arguments
    made = {"parquet": to_parquet, "icechunk": _icechunk.to_icechunk}[kind]
    try:
        made(Path(source), Path(target))
    except Exception as error:  # Whatever it is, the tool says it in one line.
        print(f"{error or type(error).__name__}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0
