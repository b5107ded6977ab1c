"""Runs one side of one row in a process of its own: worker.py ROW SIDE PHASES FOLDER PREFIX SIZE

PHASES is write, read, or write,read. Prints one line of JSON: the times, and the largest resident size."""

import ctypes
import json
import os
import resource
import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0])

PR_SET_THP_DISABLE = 41


def main():
    row, side, phases, folder, prefix, size = sys.argv[1:]
    # With huge pages the duration of the same program varies by a factor of ten, depending on the layout of memory.
    if ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0):
        raise OSError("transparent huge pages cannot be switched off")
    import calls
    import rows
    import sides
    work = {**rows.ROWS, "calls": calls.Calls}[row](sides.SIDES[side][2](folder, prefix), side, int(size))
    for phase in phases.split(","):
        getattr(work, phase)()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"times": work.times, "work": work.work, "connector": work.side.connector, "rss": peak}), flush=True)
    if not isinstance(work.side, sides.H5):
        # The work of threads of other libraries at the interpreter's exit is not measured, and has been seen to abort
        # the process.
        os._exit(0)


if __name__ == "__main__":
    main()
