"""HDF5's own testhdf5 under a connector."""

from harness.suite import replay


def test_testhdf5(outcome):
    replay(outcome)
