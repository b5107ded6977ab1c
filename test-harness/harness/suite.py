"""A plugin of pytest that every suite shares: options, known failures, counts that never fall, and a JUnit file.

A suite's conftest.py registers a Suite in its `pytest_configure`. A known failure becomes `xfail(strict=True)` with its
reason. The results are in target/test-results/STEP.xml."""

import json
import os
import re

import pytest

from . import RESULTS, ROOT, connector as connectors, status
from .results import FAILED, KNOWN, PASSED, SKIPPED, skip_step


def pytest_addoption(parser):
    group = parser.getgroup("h5lake", "h5lake")
    connectors.add_arguments(group)
    group.addoption("--limit", type=int, help="seconds that one process may take")
    group.addoption("--record", action="store_true", help="write the counts into docs/status.json")


def known_failures(path, conditions):
    """{test: reason} of the tables in a JSON file that are named by conditions of this run. No file: none."""
    tables = json.loads(path.read_text()) if path.exists() else {}
    known = {name: reason for condition in conditions for name, reason in tables.get(condition, {}).items()}
    for name in (name for name, reason in known.items() if not reason.strip()):
        raise pytest.UsageError(f"{path}: {name}: a known failure needs its reason")
    return known


class Suite:
    """What is wanted of a suite, and what came of it.

    `name` is its step in `make test`. `title` and `version` name its row in docs/status.json; a title has {connector},
    or {step} where another step has another row, or {other} for nothing or a connector that is not ours. `folder` holds
    known-failures.json, whose tables are 'always', 'h5lake' or another connector, 'store' and 'root'. `limit` is in seconds."""

    def __init__(self, config, name, title, version, folder, limit=None):
        if hasattr(config, "suite"):
            raise pytest.UsageError("one suite at a time: each has counts of its own")
        config.suite, self.config, self.version, self.folder = self, config, version, folder
        self.connector = connector = connectors.from_arguments(config.option)
        if connector.problem():
            raise pytest.UsageError(connector.problem())
        self.limit = config.option.limit or limit
        own = f"{name}-store" if connector.in_store else name if connector.is_ours else f"{name}-{connector.name}"
        self.step = os.environ.get("H5LAKE_TEST_STEP", own)
        is_own = self.step == own and not connector.in_store
        self.title = title.format(connector=connector.name, step=connector.name if is_own else self.step,
                                  other="" if connector.is_ours else f" ({connector.name})")
        self.known = known_failures(folder / "known-failures.json", [
            "always", connector.name, *["store"] * connector.in_store, *["root"] * (os.geteuid() == 0)])
        # A part has no row, but for a step that always runs the same part.
        self.part = "H5LAKE_TEST_STEP" not in os.environ and bool(
            config.option.keyword or any(re.search(r"::|\.py$", arg) for arg in config.args))
        self.outcomes, self.problems, self.why_skipped = {}, [], None
        self.is_worker = hasattr(config, "workerinput")
        if not self.is_worker and not config.option.collectonly:
            RESULTS.mkdir(parents=True, exist_ok=True)
            config.option.xmlpath = config.option.xmlpath or str(RESULTS / f"{self.step}.xml")
        config.pluginmanager.register(self)

    def name_of(self, nodeid):
        """A test's name in the list of known failures: as pytest shows it, without the suite's folder."""
        return nodeid.removeprefix(f"{self.folder.relative_to(ROOT)}/")

    def skip(self, why):
        """Ends the run because it is impossible here."""
        self.why_skipped = why
        pytest.exit(f"{self.step}: {why}")

    def add_problem(self, problem):
        """Fails the run for a reason that is not one test's; None is no problem."""
        if problem:
            self.problems.append(problem)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        for item in items:
            reason = self.known.get(self.name_of(item.nodeid))
            if reason:
                item.add_marker(pytest.mark.xfail(strict=True, reason=KNOWN + reason))

    def pytest_runtest_logreport(self, report):
        name = self.name_of(report.nodeid)
        if report.failed:
            self.outcomes[name] = FAILED
        elif report.skipped:
            is_known = getattr(report, "wasxfail", "").startswith(KNOWN)
            self.outcomes.setdefault(name, "known" if is_known else SKIPPED)
        elif report.when == "call":
            self.outcomes.setdefault(name, PASSED)

    def pytest_sessionfinish(self, session):
        if self.is_worker or self.why_skipped or self.config.option.collectonly:
            return
        self.close()
        counts = self.counts = {outcome: list(self.outcomes.values()).count(outcome)
                                for outcome in (PASSED, FAILED, SKIPPED, "known")}
        self.floor = None if self.part else status.counts_of(self.title, self.version)
        if self.floor and counts[PASSED] < self.floor[0]:
            self.add_problem(f"{counts[PASSED]} pass, docs/status.json has {self.floor[0]}: a count never falls")
        if not self.part:
            self.problems += [f"a known failure that is no test: {name}" for name in self.known if name not in self.outcomes]
        if self.problems and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.config.option.record and not session.exitstatus:
            status.record(self.title, self.version, counts[PASSED], counts["known"], counts[SKIPPED])

    def close(self):
        """Ends what the suite began, and adds its last problems."""

    def pytest_terminal_summary(self, terminalreporter):
        if not hasattr(self, "counts"):
            return
        for problem in self.problems:
            terminalreporter.write_line(f"PROBLEM {problem}", red=True)
        floor = f"docs/status.json: {self.floor[0]}" if self.floor else "a part" if self.part else "not in docs/status.json"
        terminalreporter.write_line(
            "{title} {version}: {passed} pass ({floor}), {failed} fail, {known} fail as known, {skipped} skipped".format(
                title=self.title, version=self.version, floor=floor, **self.counts))
        if self.floor and self.counts[PASSED] > self.floor[0] and not self.config.option.record:
            terminalreporter.write_line("better than recorded: run this again with --record")

    def pytest_unconfigure(self):
        if self.why_skipped:
            skip_step(self.step, self.why_skipped)
