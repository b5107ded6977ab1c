"""The tests of the harness are a suite, too."""

from pathlib import Path

from harness.suite import Suite


def pytest_configure(config):
    Suite(config, "harness", "tests of the harness", "", Path(__file__).resolve().parent)
