"""What the runners of all suites share: which connector, whose files, which counts, which verdict."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "target" / "test-results"
