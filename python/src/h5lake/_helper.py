"""The part that the tool starts: copies between containers and Zarr, and references in other formats."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from ._errors import line
from ._left_out import LeftOut


def _made(what, arguments):
    """Makes a copy or references; returns the parts that are left out."""
    if what == "zarr":
        from . import _zarr

        way, source, target = arguments
        return {"export": _zarr.export_zarr, "import": _zarr.import_zarr}[way](source, target)
    from . import _icechunk, _parquet

    kind, source, target = arguments
    left_out = LeftOut()
    left_out += {"parquet": _parquet.to_parquet, "icechunk": _icechunk.to_icechunk}[kind](Path(source), Path(target))
    return left_out


def _end_with_starter():
    """Ends this process when the tool is gone: standard input is a pipe from the tool. A half-made target is
    removed."""
    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    def wait():
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=wait, daemon=True).start()


def main(arguments: "list[str]") -> int:
    """Runs `zarr export|import SOURCE TARGET`, or `references KIND FILE TARGET`. The last line of the output says that
    the command is done, as JSON with the parts that are left out. An error is one line."""
    _end_with_starter()
    try:
        left_out = _made(arguments[0], arguments[1:])
    except Exception as error:  # The tool reports any error in one line.
        print(line(error), file=sys.stderr)
        return 1
    print(json.dumps({"done": True, "left_out": left_out.entries()}), flush=True)
    return 0
