"""Counts of the steps of `make test`: each leaves a JUnit file, target/test-results/STEP.xml."""

import os
import sys
import xml.etree.ElementTree as xml
from collections import Counter

from . import RESULTS, status

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
KNOWN = "known failure: "  # with this begins the reason of a test that is skipped because it is expected to fail


def read_known(path):
    """A list of known failures: one 'name # reason' a line. A name without a reason is an error."""
    known = {}
    if path is None or not path.exists():
        return known
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, separator, reason = line.rpartition(" # ")
        if not separator or not reason.strip():
            raise SystemExit(f"{path}:{number}: a known failure needs its reason: 'name # reason'")
        known[name.strip()] = reason.strip()
    return known


def write_counts(step, passed, failed, skipped=0, known=0):
    """Leaves a step's counts, without names of tests. Known failures count as skipped."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    suite = xml.Element("testsuite", name=step, tests=str(passed + failed + skipped + known), failures=str(failed),
                        errors="0", skipped=str(skipped + known))
    xml.SubElement(xml.SubElement(suite, "properties"), "property", name="known", value=str(known))
    xml.ElementTree(suite).write(RESULTS / f"{step}.xml")


def read_counts(step):
    """The counts that a step left, as {passed, failed, skipped, known}; None when it left none."""
    try:
        suite = next(xml.parse(RESULTS / f"{step}.xml").iter("testsuite"))
    except (OSError, xml.ParseError, StopIteration):
        return None
    tests, failures, errors, skipped = (int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
    known = sum(int(p.get("value")) for p in suite.iter("property") if p.get("name") == "known")
    known += sum(s.get("message", "").startswith(KNOWN) for s in suite.iter("skipped"))
    return dict(passed=tests - failures - errors - skipped, failed=failures + errors, skipped=skipped, known=known)


def add_failure(step, message):
    """Adds a failure that is no test's own to what a step left."""
    path = RESULTS / f"{step}.xml"
    if read_counts(step) is None:
        write_counts(step, 0, 0)
    tree = xml.parse(path)
    suite = next(tree.iter("testsuite"))
    for key in ("tests", "failures"):
        suite.set(key, str(int(suite.get(key)) + 1))
    case = xml.SubElement(suite, "testcase", classname=step, name="the step")
    xml.SubElement(case, "failure", message=message)
    tree.write(path)


def skip_step(step, why):
    """A step that cannot run here. Under CI that is a failure unless docs/status.json allows it."""
    failing = os.environ.get("CI") == "true" and not status.may_skip(step)
    print(f"skipped: {step}: {why}" + (" (a failure under CI)" if failing else ""), flush=True)
    write_counts(step, 0, int(failing), int(not failing))
    sys.exit(1 if failing else 0)


class Verdict:
    """Compares a suite's outcomes with what is known of it: no failure that is not listed, no count that
    falls below docs/status.json. `outcomes` is {test name: (outcome, detail)}. A part of a suite (`part`) has no
    recorded count, and says nothing of what its list names beside."""

    def __init__(self, suite, version, outcomes, known, problems=(), part=False):
        self.suite, self.version, self.outcomes = suite, version, outcomes
        self.problems = list(problems)
        self.failing = {n: d for n, (o, d) in outcomes.items() if o == FAILED}
        self.known = {n: r for n, r in known.items() if n in self.failing}
        self.unlisted = {n: d for n, d in self.failing.items() if n not in known}
        self.now_passing = [n for n in known if outcomes.get(n, ("",))[0] == PASSED]
        self.stale = [] if part else [n for n in known if n not in outcomes]
        self.passed = sum(o == PASSED for o, _ in outcomes.values())
        self.skipped = sum(o == SKIPPED for o, _ in outcomes.values())
        self.floor = None if part else status.counts_of(suite, version)
        if not outcomes:
            self.problems.append("no test ran at all")
        if self.floor and self.passed < self.floor[0]:
            self.problems.append(f"{self.passed} pass, docs/status.json has {self.floor[0]}: a count never falls")

    def ok(self):
        """Whether the suite stands as it should."""
        return not self.unlisted and not self.problems

    def report(self, step):
        """Prints what people need, leaves the whole list beside the counts, and gives the exit status."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        with open(RESULTS / f"{step}.tests", "w") as file:
            for name, (outcome, detail) in self.outcomes.items():
                file.write(f"{outcome}\t{name}\t{' '.join(str(detail or '').split())[:500]}\n")
        ran = {n: d for n, d in self.unlisted.items() if not str(d).startswith("not run")}
        unrun = [(d, n) for n, d in self.unlisted.items() if n not in ran]
        for reason, count in Counter(d for d, _ in unrun).items():
            some = [n for d, n in unrun if d == reason][:3]
            print(f"  FAILED {count} tests {reason}\n         {'; '.join(some)}{' ...' if count > 3 else ''}")
        with open(RESULTS / f"{step}.draft", "w") as file:  # lines for the list, once each has its true reason
            file.writelines(f"{n} # {' '.join(str(d).split())[:160]}\n" for n, d in self.unlisted.items())
        shown = list(ran.items())
        for name, detail in shown[:200]:
            print(f"  FAILED {name}" + (f"\n         {' '.join(str(detail).split())[:300]}" if detail else ""))
        if len(shown) > 200:
            print(f"  ... and {len(shown) - 200} more, in {RESULTS / step}.tests")
        for name in self.now_passing:
            print(f"  now passes, take it off the list: {name}")
        for name in self.stale:
            print(f"  listed, but there is no such test: {name}")
        for problem in self.problems:
            print(f"  PROBLEM {problem}")
        floor = f"docs/status.json: {self.floor[0]}" if self.floor else "not in docs/status.json"
        print(f"{self.suite} {self.version}: {self.passed} pass ({floor}), {len(self.failing)} fail "
              f"({len(self.known)} of them known), {self.skipped} skipped", flush=True)
        if self.floor and self.ok() and self.passed > self.floor[0]:
            print("  better than recorded: run this again with --record")
        write_counts(step, self.passed, len(self.unlisted) + len(self.problems), self.skipped, len(self.known))
        return 0 if self.ok() else 1

    def record(self):
        """Makes these counts the recorded ones."""
        status.record(self.suite, self.version, self.passed, len(self.failing), self.skipped)
