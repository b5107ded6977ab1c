"""Runs a program on native HDF5 and on a connector, reports the differences, and shrinks the program."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from accepted import accepted, accepted_value
from harness.connector import Connector, kind_of

# The names on the path to a difference that identify its kind.
WORDS = {"attribute", "type", "space", "order", "cset", "size", "value", "layout", "filters", "fill", "fill time", "kind",
         "alloc time", "attr order", "times", "phase", "chunk", "sources", "dcpl", "status", "storage", "data", "chunks",
         "rc", "attributes", "comment", "list", "dataset", "committed", "group", "compound", "reference"}
HERE = Path(__file__).resolve().parent
PROCESS = "--- another process"


class Side:
    """The process of one connector, which forks the programs."""

    def __init__(self, python, connector, work):
        self.connector, self.work, self.python, self.process = connector, Path(work), python, None

    def start(self):
        self.process = subprocess.Popen(
            [self.python, HERE / "zygote.py"], env=self.connector.env(PYTHONDONTWRITEBYTECODE=1, PYTHONFAULTHANDLER=""),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps, limit):
        """Runs steps and returns {outcomes, ends, kinds}; `kinds` has the kind of each file that the program left."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        folder = Path(tempfile.mkdtemp(dir=self.work))
        self.process.stdin.write(json.dumps({"steps": steps, "folder": str(folder), "limit": limit}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        answer["kinds"] = {p.name: kind_of(p) for p in folder.glob("*.h5")}
        answer["stderr"] = (folder / "stderr").read_text(errors="replace")[-3000:] if (folder / "stderr").exists() else ""
        shutil.rmtree(folder, ignore_errors=True)
        return answer

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def shorten(one, other, before):
    """Returns the places where two outcomes differ, each as [path, native, ours]."""
    found = []

    def walk(a, b, path):
        if a == b or len(found) > 3:
            return
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for i, (x, y) in enumerate(zip(a, b)):
                walk(x, y, path + [i if not (a and isinstance(a[0], str) and i) else a[0] if i == 1 else i])
        elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            for key in a:
                walk(a[key], b[key], path + [key])
        elif not accepted_value([k for k in path if k in WORDS], a, b, before):
            found.append([path, a, b])
    walk(one, other, [])
    return found


def word(outcome):
    return outcome if isinstance(outcome, str) else "ok" if outcome[0] == "ok" else outcome[1]


class Difference:
    """The first step for which the two sides differ."""

    def __init__(self, signature, number, text, detail):
        self.signature, self.number, self.text, self.detail = signature, number, text, detail


def difference(steps, native, ours):
    """Returns the first difference of two runs, or None."""
    process = 0
    for number, text in enumerate(steps):
        if text == PROCESS:
            if native["ends"][process] != 0:
                return None  # native HDF5 (or h5py) crashed: its files are truncated
            process += 1
        one, other = native["outcomes"].get(str(number)), ours["outcomes"].get(str(number))
        if one is None or other is None or "begun" in (one, other):
            if one != other:
                ends = f"native {native['ends']}, h5lake {ours['ends']}"
                if other not in (None, "begun") or native["ends"][process] != 0:
                    return None  # native HDF5 crashed here or later: it is no reference from this step on
                side = "h5lake" if other in (None, "begun") else "native"
                return Difference(("end", side), number, text, f"{side} ends here: {ends}\n{ours['stderr']}")
            continue
        same = one == other if one[0] == "ok" else one[:2] == other[:2]
        if not same and not accepted(text, one, other):
            if one[0] == "ok" and other[0] == "ok":
                places = shorten(one[1], other[1], "\n".join(steps[:number + 1]))
                if not places:
                    continue
                keys = tuple(k for k in places[0][0] if k in WORDS) if places else ()
                detail = "\n".join(f"at {p}\n  native {str(a)[:600]}\n  h5lake {str(b)[:600]}" for p, a, b in places)
                sort = re.sub(r"'[^']*'|[^a-z_.]+", " ", text).split()
                return Difference(("value", keys[-2:] or tuple(sort[-3:])), number, text, detail)
            return Difference((word(one), word(other)), number, text, f"  native {one}\n  h5lake {other}"[:1500])
    if native["ends"] != ours["ends"]:
        return Difference(("exit", str(ours["ends"])), len(steps), "the processes' ends",
                          f"native {native['ends']}, h5lake {ours['ends']}\n{ours['stderr']}")
    return None


class Pair:
    """Native HDF5 and the connector, side by side."""

    def __init__(self, python, connector, work, limit):
        self.native = Side(python, Connector(None, None), work)
        self.ours = Side(python, connector, work)
        self.limit = limit
        self.sightings = []

    def compare(self, steps):
        native, ours = self.native.run(steps, self.limit), self.ours.run(steps, self.limit)
        self.sightings += ours["kinds"].items()
        if any(kind != "native" for kind in native["kinds"].values()):
            raise SystemExit(f"native HDF5 left {native['kinds']}")
        return difference(steps, native, ours)

    def shrink(self, steps, found, most=250):
        """Removes steps that are not needed for a difference of the same kind: first many at once, then single
        steps."""
        def still(candidate):
            nonlocal most
            most -= 1
            again = self.compare(candidate)
            return again if again and again.signature == found.signature else None

        if found.number < len(steps) - 1:
            again = still(steps[:found.number + 1])
            if again:
                steps, found = steps[:found.number + 1], again
        size = len(steps) // 2
        while size and most > 0:
            start = 0
            while start < len(steps) and most > 0:
                candidate = steps[:start] + steps[start + size:]
                again = still(candidate) if candidate else None
                if again:
                    steps, found = candidate, again
                else:
                    start += size
            size //= 2
        return steps, found

    def stop(self):
        self.native.stop()
        self.ours.stop()
