"""Runs HDF5's testhdf5 (h5_api_test_testhdf5) on native HDF5 and under a connector, and compares them test by test.

Each of its groups runs in a separate process and folder. The calls of test functions in its source are announced
(announce.h), so that each error belongs to a function: 'group: function' passes, or 'group: function > call' fails,
where the call is the one that the test reported. exceptions.json has the reasons for differences under h5lake:
    left out      functions that are not run
    not native    functions for which the connector is reported as not native, as testhdf5 provides for: they then skip
                  the checks of native structures, of sizes of native files and of limits of that format
    native files  files that the tests create natively on purpose
Names of functions may contain the wildcard *. known-failures.json lists the known failures.
"""

import concurrent.futures
import fnmatch
import json
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402
from harness import RESULTS, connector as connectors  # noqa: E402
from harness.results import FAILED, PASSED, SKIPPED, skip_step  # noqa: E402
from harness.suite import ReplayedSuite  # noqa: E402

MARK = re.compile(r"@@ (begin|end|left out) (\w+)(?: (\d+))?$")
COMPLAINT = re.compile(r"\*\*\* UNEXPECTED (?:VALUE|RETURN) from (\S+) .*at line\s+(\d+)")


class Reading:
    """Parses a group's output: {function: {call: first line of the complaint}}, in order."""

    def __init__(self, group, function):
        self.group, self.found, self.left_out, self.skipped = group, {function: {}}, [], set()
        self.running = [[function, 0, 0]]  # name, errors at its beginning, errors that have a complaint or a caller

    def line(self, line):
        mark = MARK.match(line)
        if not mark:
            complaint = COMPLAINT.match(line)
            if complaint:
                self.running[-1][2] += 1
                self.found[self.running[-1][0]].setdefault(complaint[1], line.strip()[4:240])
            elif "SKIPPED" in line and len(self.running) > 1:
                self.skipped.add(self.running[-1][0])
            elif line.startswith("***") or re.match(r"\d+: ", line):
                self.found[self.running[-1][0]].setdefault("message", line.strip()[:240])
        elif mark[1] == "begin":
            self.found.setdefault(mark[2], {})
            self.running.append([mark[2], int(mark[3]), 0])
        elif mark[1] == "left out":
            self.left_out.append(mark[2])
        else:
            name, before, told = self.running.pop()
            errors = int(mark[3]) - before
            if errors > told:
                self.found[name].setdefault("message", "an error that no call is named for")
            self.running[-1][2] += errors

    def outcomes(self, ended):
        """{test: (outcome, detail)}"""
        if ended not in ("exit 0", "exit 1"):
            self.found[self.running[-1][0]]["the end"] = ended
        out = {f"{self.group}: {name}": (SKIPPED, "left out") for name in self.left_out if name not in self.found}
        for name, complaints in self.found.items():
            if not complaints:
                out[f"{self.group}: {name}"] = (SKIPPED, "it skips itself") if name in self.skipped else (PASSED, "")
            for call, text in complaints.items():
                out[f"{self.group}: {name} > {call}"] = (FAILED, text)
        return out


def chosen(names, group, function, listed):
    """Returns ',one,two,': the functions of a group that a list's patterns match."""
    patterns = [n.partition(": ")[2] for n in listed if n.startswith(f"{group}: ")]
    return ",".join(["", *(n for n in [function, *names] if any(fnmatch.fnmatch(n, p) for p in patterns)), ""])


def run_group(connector, folder, group, function, work, limit, lists):
    """Runs one group; returns (outcomes, files seen). The output stays in target/test-results."""
    place = work / connector.name / group
    place.mkdir(parents=True)
    (place / "testfiles").symlink_to(folder / "testfiles")
    logs = RESULTS / "testhdf5" / connector.name
    logs.mkdir(parents=True, exist_ok=True)
    left_out, not_native = (chosen(build.functions(folder), group, function, one) for one in lists)
    env = connector.env(srcdir=folder, TESTHDF5_LEAVE_OUT=left_out, TESTHDF5_NOT_NATIVE=not_native, TESTHDF5_GROUP=function)
    with open(logs / f"{group}.out", "wb") as out, connectors.Watcher(place, work / f"{connector.name}-{group}.kept") as seen:
        process = subprocess.Popen([folder / "testhdf5", "-v", "m", "-o", group], cwd=place, env=env,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            code = process.wait(timeout=limit)
            ended = f"exit {code}" if code >= 0 else f"crashed ({signal.Signals(-code).name})"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"over the time limit of {limit} s"
    reading = Reading(group, function)
    with open(logs / f"{group}.out", errors="replace") as out:
        for line in out:
            reading.line(line)
    return reading.outcomes(ended), [(f"{group}/{name}", kind) for name, kind in seen.files()]


def pytest_addoption(parser):
    parser.getgroup("h5lake").addoption("--group", action="append", help="only this group (file, attr, misc, ...)")


class TestHDF5(ReplayedSuite):
    """The suite."""

    def is_selected(self):
        return bool(self.config.option.group) or super().is_selected()

    def run(self):
        folder = build.built(self.prefix)
        if folder is None:
            self.skip("no HDF5 source to build it from")
        exceptions = json.loads((HERE / "exceptions.json").read_text()) if self.connector.is_ours else {}
        left_out, not_native, native_files = (exceptions.get(n, {}) for n in ("left out", "not native", "native files"))
        only = self.config.option.group
        groups = {g: f for g, f in build.groups(folder).items() if not only or g in only}
        outcomes, sightings, native = {}, [], connectors.Connector(None, None)
        with tempfile.TemporaryDirectory(prefix="h5lake-testhdf5-") as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
            def run(group, which, *lists):
                return run_group(which, folder, group, groups[group], Path(work), self.limit, lists)
            wanted = {g: pool.submit(run, g, native, {}, {}) for g in groups} if self.connector.string else {}
            got = {g: pool.submit(run, g, self.connector, left_out, not_native) for g in groups}
            for group in groups:
                found, files = got[group].result()
                sightings += files
                outcomes.update(found)
                for name, (outcome, detail) in (wanted[group].result()[0].items() if wanted else ()):
                    if outcome == FAILED:
                        self.add_problem(f"native HDF5 fails {name}: {detail}")
                    elif not any(n == name or n.startswith(f"{name} > ") for n in found):
                        meant = any(fnmatch.fnmatch(name, p) for p in (*left_out, *not_native))
                        outcomes[name] = (SKIPPED, "its caller leaves it out") if meant else (FAILED, "not run")
            self.problems += connectors.misnamed(self.connector, self.prefix, Path(work))
        meant = [(n, k) for n, k in sightings if not (k == "native" and n in native_files)]
        self.prove(meant)
        if self.connector.is_ours:
            self.lines.append(f"{len(sightings) - len(meant)} native files as the tests ask for them")
        return outcomes


def pytest_configure(config):
    TestHDF5(config, "testhdf5", "HDF5's testhdf5{other}", HERE, limit=600)
