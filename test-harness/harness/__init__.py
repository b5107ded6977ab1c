"""The shared parts of the runners of all suites: the choice of the connector, the check of the files' kind, the counts
and the verdict."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "target" / "test-results"
