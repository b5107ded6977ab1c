"""A plugin of pytest that every suite shares: options, known failures, counts that must not fall, and a JUnit file.

A suite's conftest.py registers a Suite in its `pytest_configure`. A known failure becomes `xfail(strict=True)` with its
reason. The results are in target/test-results/STEP.xml."""

import os
import re
from pathlib import Path

import pytest

from . import RESULTS, ROOT, connector as connectors, status
from .results import FAILED, KNOWN, PASSED, SKIPPED, read_known, skip_step, step_name


def pytest_addoption(parser):
    group = parser.getgroup("h5lake", "h5lake")
    connectors.add_arguments(group)
    group.addoption("--sample", action="store_true", help="leave out what another step of 'make test' runs; its counts are no row")
    group.addoption("--limit", type=int, help="seconds that one process may take")
    group.addoption("--variable", action="append", default=[], metavar="NAME=VALUE",
                    help="a variable that processes with the plugin get")
    group.addoption("--hdf5", type=Path, metavar="FOLDER", help="another build of HDF5 than the tests' own")
    group.addoption("--record", action="store_true", help="write the counts into docs/status.json")


class Failure(Exception):
    """A test's failure, with the information that users need."""


class Suite:
    """The settings of a suite, and its results.

    `name` is its step in `make test`. `title` and `version` name its row in docs/status.json; a title has {connector},
    or {step} if another step has another row, or {other} for nothing or a connector that is not ours. `folder` contains
    `known`.json, with the tables 'always', 'h5lake' or another connector, 'store', 'root', and those named in
    `conditions`. `limit` is in seconds."""

    def __init__(self, config, name, title, version, folder, known="known-failures", limit=None, conditions=()):
        if hasattr(config, "suite"):
            raise pytest.UsageError("one suite at a time: each has counts of its own")
        config.suite, self.config, self.version, self.folder = self, config, version, folder
        self.connector = connector = connectors.from_arguments(config.option)
        connector.variables = dict(variable.split("=", 1) for variable in config.option.variable)
        if connector.problem():
            raise pytest.UsageError(connector.problem())
        self.limit = config.option.limit or limit
        own = f"{name}-store" if connector.in_store else name if connector.is_ours else f"{name}-{connector.name}"
        own += "-passed" * connector.passes_native
        self.step = step_name(own)
        is_own = self.step == own and not connector.in_store
        self.title = title.format(connector=connector.name, step=connector.name if is_own else self.step,
                                  other=" (native files)" if connector.passes_native
                                  else "" if connector.is_ours else f" ({connector.name})")
        self.known = read_known(folder / f"{known}.json", [
            "always", "native" if connector.passes_native else connector.name, *["store"] * connector.in_store,
            *re.findall(r"store=(\w+):", connector.string or ""), *["unknown to Zarr"] * connector.is_unknown_to_zarr,
            *["root"] * (os.geteuid() == 0), *conditions])
        # A selection of tests has no row, except for a step that always runs the same selection.
        self.part = self.is_selected() and "H5LAKE_TEST_STEP" not in os.environ
        self.outcomes, self.lines, self.problems, self.why_skipped = {}, [], [], None
        self.is_worker = hasattr(config, "workerinput")
        if not self.is_worker and not config.option.collectonly:
            RESULTS.mkdir(parents=True, exist_ok=True)
            config.option.xmlpath = config.option.xmlpath or str(RESULTS / f"{self.step}.xml")
        config.pluginmanager.register(self)

    def is_selected(self):
        """Returns whether the command line selects some of the tests."""
        return bool(self.config.option.keyword or any(re.search(r"::|\.py$", arg) for arg in self.config.args))

    def name_of(self, nodeid):
        """Returns a test's name in the list of known failures: as pytest shows it, without the suite's folder."""
        return nodeid.removeprefix(f"{self.folder.relative_to(ROOT)}/")

    def skip(self, why):
        """Ends the run because it is impossible here."""
        self.why_skipped = why
        pytest.exit(f"{self.step}: {why}")

    def cannot_run(self, test, why):
        """Skips a test that cannot run here. Under CI that is a failure, unless docs/status.json allows it."""
        if os.environ.get("CI") == "true" and not status.may_skip(test):
            pytest.fail(f"skipped: {why} (a failure under CI)", pytrace=False)
        pytest.skip(why)

    def prove(self, sightings, needed=1):
        """Fails the run unless the (name, kind) of the files that were seen are this connector's."""
        problem, line = connectors.whose(self.connector, sightings, needed)
        self.lines.append(line)
        self.add_problem(problem)

    def add_problem(self, problem):
        """Fails the run for a reason that does not belong to one test; None is no problem."""
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

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.is_worker or self.why_skipped or self.config.option.collectonly:
            return
        self.close()
        counts = self.counts = {outcome: list(self.outcomes.values()).count(outcome)
                                for outcome in (PASSED, FAILED, SKIPPED, "known")}
        self.floor = None if self.part else status.counts_of(self.title, self.version)
        if self.floor and counts[PASSED] < self.floor[0]:
            self.add_problem(f"{counts[PASSED]} pass, docs/status.json has {self.floor[0]}: a count never falls")
        if not self.is_selected():
            self.problems += [f"a known failure that is no test: {name}" for name in self.known if name not in self.outcomes]
        if self.problems and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.config.option.record and not session.exitstatus:
            status.record(self.title, self.version, counts[PASSED], counts["known"], counts[SKIPPED])

    def close(self):
        """Stops everything that the suite started, and adds its last problems."""

    def pytest_terminal_summary(self, terminalreporter):
        if not hasattr(self, "counts"):
            return
        for line in self.lines:
            terminalreporter.write_line(line)
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


class HDF5Suite(Suite):
    """A suite that needs our build of HDF5: its folder is `prefix`, and the version is HDF5's. Known failures with one
    version are under 'HDF5 1.14.1'."""

    def __init__(self, config, name, title, folder, limit):
        self.prefix, why = connectors.hdf5_prefix(config.option.hdf5)
        version = self.prefix and connectors.hdf5_version(self.prefix)
        super().__init__(config, name, title, version, folder, limit=limit, conditions=[f"HDF5 {version}"])
        if self.prefix is None:
            skip_step(self.step, why)


class ReplayedSuite(HDF5Suite):
    """A suite with programs that run as a whole, and report their tests and their outcomes. A test function with the
    argument `outcome` stands for all of them, and calls `replay`. A known failure is listed by the test's own name."""

    def run(self):
        """Runs the programs; returns {test: (outcome, detail)}."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc):
        if "outcome" in metafunc.fixturenames:
            outcomes = self.run()
            metafunc.parametrize("outcome", outcomes.values(), ids=outcomes)

    def name_of(self, nodeid):
        return nodeid.partition("[")[2].removesuffix("]") or nodeid


def replay(outcome):
    """Ends a test with the outcome of the program's test of its name."""
    how, detail = outcome
    if how == FAILED:
        pytest.fail(str(detail), pytrace=False)
    if how == SKIPPED:
        pytest.skip(str(detail) or "by the suite itself")
