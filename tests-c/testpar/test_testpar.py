"""HDF5's own testpar under a connector."""

from harness.suite import replay


def test_testpar(outcome):
    replay(outcome)
