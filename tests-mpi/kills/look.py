"""Fails unless each version of a container has one step in the parts of all processes. Prints the number of versions.

    python look.py FILE TOOL             all retained versions, when no process writes
    python look.py FILE SECONDS          the newest version, again and again, while processes write
"""

import json
import subprocess
import sys
import time

import h5py


def look(f):
    """Returns the steps of the datasets, after checking that each has one."""
    steps = {}
    for key, dataset in f.items():
        values = set(dataset[...].tolist())
        assert len(values) == 1, f"{f.filename}: {key} has the steps {sorted(values)}"
        steps[key] = values.pop()
    assert not steps or max(steps.values()) - min(steps.values()) <= 1, (f.filename, steps)
    return steps


name, how = sys.argv[1:]
if how.replace(".", "").isdigit():
    end, seen = time.monotonic() + float(how), set()
    while time.monotonic() < end:
        with h5py.File(name, "r") as f:
            seen.add(tuple(sorted(look(f).items())))
    print(len(seen))
else:
    listed = json.loads(subprocess.run([how, "versions", "--json", name], capture_output=True, check=True).stdout)
    versions = [version["number"] for version in listed["versions"]]
    for version in versions:
        with h5py.File(f"{name}@v={version}", "r") as f:
            look(f)
    subprocess.run([how, "verify", name], check=True, stdout=subprocess.DEVNULL)
    print(len(versions))
