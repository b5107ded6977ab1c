"""Runs what a module's suite() gives and writes every outcome down; see recording.

    python unittest_recorder.py tables.tests.test_array"""

import importlib
import sys
import traceback
import unittest
from collections import Counter

import recording


def flat(suite):
    """The tests of a suite, in its order."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def named(tests):
    """(name, test) pairs; a test that a suite holds several times gets a number."""
    seen = Counter()
    for test in tests:
        seen[test.id()] += 1
        number = seen[test.id()]
        yield (test.id() if number == 1 else f"{test.id()} ({number})"), test


class Recorder(unittest.TestResult):
    """A result that is written at once."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def name(self, test):
        """The name of a test; what is no test (a class that could not be set up) has its own."""
        return self.names.get(id(test)) or test.id()

    def startTest(self, test):
        super().startTest(test)
        recording.write(start=self.name(test))

    def stopTest(self, test):
        super().stopTest(test)
        recording.write(end=self.name(test))

    def outcome(self, test, outcome, detail=""):
        """Writes one outcome."""
        recording.write(outcome=outcome, test=self.name(test), detail=detail[-1500:])

    def fault(self, test, err):
        """Writes a failure, the exception marked as pytest marks it."""
        kind, value, trace = err
        lines = "".join(traceback.format_tb(trace)) + f"E {kind.__name__}: {' '.join(str(value).split())}"
        self.outcome(test, "failed", lines)

    def addSuccess(self, test):
        self.outcome(test, "passed")

    def addError(self, test, err):
        self.fault(test, err)

    def addFailure(self, test, err):
        self.fault(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.fault(test, err)

    def addSkip(self, test, reason):
        self.outcome(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        self.outcome(test, "skipped", "expected to fail, by the suite itself")

    def addUnexpectedSuccess(self, test):
        self.outcome(test, "failed", "E was expected to fail")


def main():
    recording.watch()
    module = importlib.import_module(sys.argv[1])
    tests = list(named(flat(module.suite())))
    if not recording.done:
        recording.write(collected=[name for name, _ in tests])
    left = [(name, test) for name, test in tests if name not in recording.done]
    # A suite, not each test alone: it runs what sets classes and modules up.
    unittest.TestSuite(test for _, test in left).run(Recorder({id(test): name for name, test in left}))


if __name__ == "__main__":
    main()
