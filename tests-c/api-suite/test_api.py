"""HDF5's own API suite (h5_api_test) under a connector."""

from harness.suite import replay


def test_api(outcome):
    replay(outcome)
