"""Runs HDF5's own API suite (h5_api_test) under a connector.

Each interface's group runs in a process of its own, in a folder of its own, with a time limit; a crash is reported
and costs the remaining tests of its group. Native HDF5 runs first, which shows the list of tests."""

import concurrent.futures
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from harness import RESULTS, connector as connectors
from harness.results import FAILED, PASSED, SKIPPED
from harness.suite import ReplayedSuite

GROUPS = ["file", "group", "dataset", "datatype", "attribute", "link", "object", "misc", "async"]
# A result may follow its test's name on the same line, or be alone on its line if the test printed something.
RESULT = re.compile(r"(?P<before>.*?)(?P<result> PASSED|\*FAILED\*| -SKIP-)\s*$")
MEANING = {" PASSED": PASSED, "*FAILED*": FAILED, " -SKIP-": SKIPPED}


class Parser:
    """Turns the suite's output into outcomes. Names are 'group: test' or 'group: test > part'."""

    def __init__(self, group):
        self.group, self.outcomes = group, {}
        self.whole = None  # the test whose parts follow
        self.open = None  # announced, without a result yet

    def feed(self, text):
        """Parses the whole output of one group."""
        for line in text.splitlines():
            self._line(line)
        return self

    def _line(self, line):
        result = RESULT.match(line)
        before = result["before"] if result else line
        if before.startswith("  Testing "):
            self._announce(before[10:], part=True)
        elif before.startswith("Testing "):
            self._announce(before[8:], part=False)
        elif not result:
            self._comment(line)
        if result:
            self._settle(MEANING[result["result"]])

    def _announce(self, name, part):
        name = name.strip()
        if part:
            name = f"{self.whole} > {name}"
        else:
            name = f"{self.group}: {name}"
        base, count = name, 1
        while name in self.outcomes:
            count += 1
            name = f"{base} ({count})"
        self.open = name
        if not part:
            self.whole = name

    def _settle(self, outcome):
        if outcome == SKIPPED and not self.open and not self.outcomes:
            return  # the group as a whole: native HDF5 reports that its calls are not asynchronous
        # One part of the suite reports twice; HDF5's own totals count both reports, and so does this parser.
        name = self.open or f"{next(reversed(self.outcomes), self.group)} (again)"
        self.outcomes[name] = (outcome, "")
        self.open = None

    def _comment(self, line):
        last = next(reversed(self.outcomes), None)
        if last and self.outcomes[last][0] == FAILED and line.strip() and not line.startswith("***"):
            outcome, detail = self.outcomes[last]
            self.outcomes[last] = (outcome, f"{detail} {line.strip()}".strip())


def run_group(connector, program, group, work, limit):
    """Runs one group; returns (outcomes, files seen, complaint). The output stays in target/test-results."""
    folder = work / group
    folder.mkdir(parents=True)
    logs = RESULTS / "api-suite" / connector.name
    logs.mkdir(parents=True, exist_ok=True)
    out, err = logs / f"{group}.out", logs / f"{group}.err"
    ended = "exit 0"
    # The group of event sets checks whether calls may be asynchronous.
    env = connector.env(**({"H5LAKE_ASYNC": "on"} if group == "async" and connector.is_ours else {}))
    with open(out, "wb") as stdout, open(err, "wb") as stderr, \
            connectors.Watcher(folder, work / f"{group}.kept") as watcher:
        process = subprocess.Popen([program, group], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                                   stdout=stdout, stderr=stderr)
        try:
            code = process.wait(timeout=limit)
            if code < 0:
                ended = f"crashed ({signal.Signals(-code).name})"
            elif code:
                ended = f"exit {code}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"over the time limit of {limit} s"
    text = out.read_text(errors="replace")
    parser = Parser(group).feed(text)
    told = f"Running API tests with VOL connector '{connector.name}'" in text
    if ended in ("exit 0", "exit 1") and connector.string and not told:
        ended = f"it did not say that it runs with {connector.name}"
    return parser, watcher.files(), ended, err.read_text(errors="replace")


def complete(parser, ended, stderr, baseline):
    """Adds the tests that did not run, or did not end, to a group's outcomes."""
    outcomes, group = parser.outcomes, parser.group
    broken = ended not in ("exit 0", "exit 1")
    where = parser.open
    headings = {name.rpartition(" > ")[0] for name in baseline}
    if where and broken:
        outcomes[where] = (FAILED, f"{ended}; {stderr.strip()[-300:]}")
    for name in baseline:
        if name in outcomes:
            continue
        heading = outcomes.get(name.rpartition(" > ")[0])
        if heading and heading[0] == SKIPPED:
            outcomes[name] = (SKIPPED, "its test was skipped as a whole")
        elif heading:
            outcomes[name] = (FAILED, "not run: its test failed before")
        else:
            outcomes[name] = (FAILED, f"not run: {ended} in '{where}'" if broken and where
                              else f"not run: {group}: {ended}")
    for name in headings - set(baseline) - {where}:
        outcomes.pop(name, None)  # it stands for its parts, which have outcomes of their own now
    failed = any(outcome == FAILED for outcome, _ in outcomes.values())
    if (broken and not where) or (ended == "exit 1" and not failed):
        outcomes[f"{group}: the program's end"] = (FAILED, f"{ended}; {stderr.strip()[-300:]}")
    return outcomes


class ApiSuite(ReplayedSuite):
    """The suite."""

    def run(self):
        program, native = self.prefix / "bin" / "h5_api_test", connectors.Connector(None, None)
        outcomes, sightings = {}, []
        with tempfile.TemporaryDirectory(prefix="h5lake-api-") as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
            work = Path(folder)
            names = {g: list(run_group(native, program, g, work / "native", self.limit)[0].outcomes) for g in GROUPS}
            runs = pool.map(lambda g: run_group(self.connector, program, g, work / "run", self.limit), GROUPS)
            for group, (parsed, files, ended, stderr) in zip(GROUPS, runs):
                outcomes.update(complete(parsed, ended, stderr, names[group]))
                sightings += [(f"{group}/{name}", kind) for name, kind in files]
            self.problems += connectors.misnamed(self.connector, self.prefix, work)
        self.prove(sightings)
        return outcomes


def pytest_configure(config):
    ApiSuite(config, "api-suite", "HDF5 API suite{other}", Path(__file__).resolve().parent, limit=300)
