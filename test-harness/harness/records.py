"""Suites in processes of their own: each unit (a test file, a module) is run by a process that writes every
outcome down at once (tests-py/recorder). When it crashes or hangs, the test that did it is named and failed,
and a new process goes on with the tests that are left."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from . import ROOT, connector as connectors
from .results import FAILED, PASSED

RECORDER = ROOT / "tests-py" / "recorder"
CREATING = ("w", "w-", "x")


class Record:
    """What the recorder wrote so far about one unit."""

    def __init__(self, path):
        self.outcomes, self.collected, self.files, self.running = {}, [], [], None
        self.done = set()
        for line in path.read_text().splitlines() if path.exists() else []:
            self._entry(json.loads(line))

    def _entry(self, entry):
        if "collected" in entry:
            self.collected = entry["collected"]
        elif "broken" in entry:
            self.outcomes[f"{entry['broken']} (collection)"] = (FAILED, entry["detail"])
        elif "start" in entry:
            self.running = entry["start"]
        elif "end" in entry:
            self.done.add(entry["end"])
            self.running = None
        elif "file" in entry:
            self.files.append(entry)
        elif "outcome" in entry and self.outcomes.get(entry["test"], (PASSED,))[0] != FAILED:
            self.outcomes[entry["test"]] = (entry["outcome"], last_lines(entry))


def last_lines(entry):
    """The line that says why a test failed."""
    lines = [line[1:].strip() for line in entry["detail"].splitlines() if line.startswith("E ")]
    return " / ".join(lines[:2]) or entry["detail"][-200:]


def attempt(connector, command, folder, record, stall):
    """One process over the tests that are left. How it ended: 'done' or a reason to go on with another."""
    env = connector.env(RECORD=record, RECORD_DONE=f"{record}.done", PYTHONPATH=RECORDER, TMPDIR=folder,
                        PYTHONDONTWRITEBYTECODE=1, PYTHONFAULTHANDLER=1)
    with open(f"{record}.log", "ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        size, since = -1, time.monotonic()
        while True:
            try:
                code = process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                now = record.stat().st_size if record.exists() else 0
                if now != size:
                    size, since = now, time.monotonic()
                elif time.monotonic() - since > stall:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return f"no progress for {stall} s"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return "done" if code in (0, 1, 5) else f"ended with exit {code}"


def run_unit(connector, unit, command, work, stall):
    """All tests of one unit, with as many processes as crashes make necessary."""
    key = str(unit).replace("/", ".")
    folder, record_path = work / key, work / f"{key}.record"
    folder.mkdir(parents=True)
    crashes, progress = {}, 0
    while True:
        ended = attempt(connector, command, folder, record_path, stall)
        record = Record(record_path)
        if ended == "done":
            break
        if record.running is None or record.running in crashes:
            # Not in a test: while importing, collecting or leaving. Worth another process only if tests were
            # run since the last one.
            crashes[f"{unit} (outside of tests)"] = ended
            left = set(record.collected) - record.done - set(crashes)
            if not left or len(record.done) == progress:
                break
        if record.running:
            crashes[record.running] = ended
        if len(crashes) > 100:
            break
        progress = len(record.done)
        Path(f"{record_path}.done").write_text("\n".join(record.done | set(crashes)))
    for test, how in crashes.items():
        record.outcomes[test] = (FAILED, how)
    for test in record.collected:
        record.outcomes.setdefault(test, (FAILED, f"not run: {unit} went no further: {ended}"))
    return record


def kinds(files):
    """How many files of which client, connector and kind, and those that should have been ours but were not."""
    count, native_created = Counter(), []
    for entry in files:
        head = bytes.fromhex(entry["head"])
        kind = ("container" if head in (connectors.CONTAINER, connectors.POINTER) else
                "native" if head.startswith(connectors.SIGNATURE) else "unwritten or elsewhere")
        count[(entry["by"], entry["file"], kind)] += 1
        if entry["mode"] in CREATING and not entry["driver"] and (kind == "native" or entry["file"] != "h5lake"):
            native_created.append(entry["test"] or "?")
    return count, native_created


def proof(connector, files):
    """A problem when the files were not this connector's, or None. Prints whose they were."""
    count, native_created = kinds(files)
    for (client, name, kind), number in sorted(count.items()):
        print(f"files opened by {client}: {number} times {name}, {kind}")
    if connector.is_ours:
        if native_created:
            return f"{len(native_created)} files were created natively, the first in {native_created[0]}"
        ours = sum(n for (_, name, kind), n in count.items() if name == "h5lake" and kind == "container")
        return None if ours else "no file was a container"
    expected = sum(n for (_, name, _), n in count.items() if name == connector.name)
    return None if expected else f"no file was {connector.name}'s"
