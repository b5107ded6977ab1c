"""Native HDF5 files for `h5lake.open`: each is read through a temporary container that refers to its raw data."""

import json
import os
import subprocess

from . import _reader
from ._settings import connector_string
from ._tool import _library, environment, find


def open_adopted(name: "str | os.PathLike[str]", settings: dict) -> int:
    """Opens a native file under the name that a program gives it. Returns the handle of a container that refers to its raw data, as
    `h5lake adopt` makes one.

    The tool deletes the file of the container when this returns, or when this process ends; it exists until the handle is closed. Raises
    ReadError with the tool's text if the file cannot be adopted."""
    connector = connector_string(**settings) if settings else None
    command = [find(), "adopt-temporarily", *_library(None), "--", name]
    with subprocess.Popen(command, env=environment(connector), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
        made = tool.stdout.readline()
        if not made:
            said = tool.communicate()[1].decode(errors="replace").strip()
            raise _reader.ReadError(said.removeprefix("h5lake: ") or f"{os.fsdecode(name)}: the tool h5lake ended with {tool.returncode}")
        try:
            given = None if connector is None else os.fsencode(connector.partition(" ")[2])
            paths = os.fsencode(json.loads(made)), os.fsencode(name)
            return _reader.number(_reader.functions().open_adopted, *paths, given, is_open=True)
        finally:
            tool.communicate()
