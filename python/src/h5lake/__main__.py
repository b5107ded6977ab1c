"""`python -m h5lake run script.py …`: runs a script with h5lake enabled. `python -m h5lake COMMAND …`: the tool."""

import errno
import os
import runpy
import sys

from . import _tool, enable

USAGE = "usage: python -m h5lake run [KEY=VALUE…] SCRIPT|-m MODULE [ARGUMENT…]"


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] != ["run"]:
        tool = _tool.find()
        os.execv(tool, [tool, *arguments])
    arguments = arguments[1:]
    settings = {}
    while arguments and "=" in arguments[0] and arguments[0].split("=")[0].isidentifier():
        key, _, settings[key] = arguments.pop(0).partition("=")
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        sys.exit(USAGE)
    if arguments[0] != "-m" and not os.path.exists(arguments[0]):
        sys.exit(f"h5lake: {arguments[0]}: {os.strerror(errno.ENOENT)}")
    try:
        enable(**settings)
    except (ValueError, ImportError) as error:
        sys.exit(f"h5lake: {error}")
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.realpath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


main()
