"""Counts and times of test steps: each step leaves a JUnit file, target/test-results/STEP.xml."""

import json
import os
import sys
import xml.etree.ElementTree as xml

from . import RESULTS, status

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
THE_STEP = "the step"  # the name of a failure that is not a test's
KNOWN = "known failure: "  # the start of the reason of a test that is skipped because it is expected to fail


def read_known(path, conditions=("always",)):
    """Returns the known failures of a run, {test: reason}: those tables of a JSON file that `conditions` names; none
    without the file."""
    tables = json.loads(path.read_text()) if path.exists() else {}
    known = {name: reason for condition in conditions for name, reason in tables.get(condition, {}).items()}
    for name in (name for name, reason in known.items() if not reason.strip()):
        raise SystemExit(f"{path}: {name}: a known failure needs its reason")
    return known


def step_name(own):
    """Returns the name of the step in which this process runs, or `own` outside of a step."""
    return os.environ.get("H5LAKE_TEST_STEP", own)


def write_counts(step, passed, failed, skipped=0, known=0):
    """Writes a step's counts, without names of tests. Known failures count as skipped."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    suite = xml.Element("testsuite", name=step, tests=str(passed + failed + skipped + known), failures=str(failed),
                        errors="0", skipped=str(skipped + known))
    xml.SubElement(xml.SubElement(suite, "properties"), "property", name="known", value=str(known))
    xml.ElementTree(suite).write(RESULTS / f"{step}.xml")


def read_counts(step):
    """Returns the counts that a step left, as {passed, failed, skipped, known}; None if it left none."""
    try:
        suite = next(xml.parse(RESULTS / f"{step}.xml").iter("testsuite"))
    except (OSError, xml.ParseError, StopIteration):
        return None
    tests, failures, errors, skipped = (int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
    known = sum(int(p.get("value")) for p in suite.iter("property") if p.get("name") == "known")
    known += sum(s.get("message", "").startswith(KNOWN) for s in suite.iter("skipped"))
    return dict(passed=tests - failures - errors - skipped, failed=failures + errors, skipped=skipped, known=known)


def read_failures(step):
    """Returns a line for each failed test that a step named, with the first line of its message; none for a failure that
    `add_failure` added."""
    lines = []
    for case in xml.parse(RESULTS / f"{step}.xml").iter("testcase"):
        if case.get("name") == THE_STEP:
            continue
        for failure in [*case.findall("failure"), *case.findall("error")]:
            message = (failure.get("message") or "").strip().split("\n")[0]
            lines.append(f"FAILED {case.get('classname')} {case.get('name')}: {message}")
    return lines


def add_failure(step, message):
    """Adds a failure that is not a test's to the results of a step."""
    path = RESULTS / f"{step}.xml"
    if read_counts(step) is None:
        write_counts(step, 0, 0)
    tree = xml.parse(path)
    suite = next(tree.iter("testsuite"))
    for key in ("tests", "failures"):
        suite.set(key, str(int(suite.get(key)) + 1))
    case = xml.SubElement(suite, "testcase", classname=step, name=THE_STEP)
    xml.SubElement(case, "failure", message=message)
    tree.write(path)


def add_times(step, elapsed, processors):
    """Adds the duration of a step to its counts, in seconds: elapsed time, and time of processors."""
    path = RESULTS / f"{step}.xml"
    tree = xml.parse(path)
    suite = next(tree.iter("testsuite"))
    properties = suite.find("properties")
    if properties is None:
        properties = xml.Element("properties")
        suite.insert(0, properties)
    for name, value in (("elapsed", elapsed), ("processors", processors)):
        xml.SubElement(properties, "property", name=name, value=f"{value:.1f}")
    tree.write(path)


def skip_step(step, why):
    """Skips a step that cannot run here. Under CI that is a failure unless docs/status.json allows it."""
    failing = os.environ.get("CI") == "true" and not status.may_skip(step)
    print(f"skipped: {step}: {why}" + (" (a failure under CI)" if failing else ""), flush=True)
    write_counts(step, 0, int(failing), int(not failing))
    sys.exit(1 if failing else 0)
