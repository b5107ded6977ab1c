"""docs/status.md as the machine reads it: the counts that may not fall, the steps that may be skipped."""

import re

from . import ROOT

STATUS = ROOT / "docs" / "status.md"
ROW = re.compile(r"^\|\s*(?P<suite>[^|]+?)\s*\|\s*(?P<version>[^|]+?)\s*\|"
                 r"\s*(?P<passed>\d+)\s*\|\s*(?P<failed>\d+)\s*\|\s*(?P<skipped>\d+)\s*\|")


def counts_of(suite, version):
    """The recorded (passed, failed, skipped) of a suite, or None when it has no row."""
    if not STATUS.exists():
        return None
    for line in STATUS.read_text().splitlines():
        row = ROW.match(line)
        if row and row["suite"] == suite and row["version"] == version:
            return tuple(int(row[k]) for k in ("passed", "failed", "skipped"))
    return None


def record(suite, version, passed, failed, skipped):
    """Writes a suite's counts into its row; the row must exist, so that a new suite is entered by hand."""
    lines = STATUS.read_text().splitlines()
    for number, line in enumerate(lines):
        row = ROW.match(line)
        if row and row["suite"] == suite and row["version"] == version:
            rest = line[row.end():]
            lines[number] = f"| {suite} | {version} | {passed} | {failed} | {skipped} |{rest}"
            STATUS.write_text("\n".join(lines) + "\n")
            return
    raise SystemExit(f"{STATUS}: no row '{suite} | {version}' to record in")


def may_skip(step):
    """Whether docs/status.md lists this step under 'Steps that may be skipped' (as '- `step`: why')."""
    text = STATUS.read_text() if STATUS.exists() else ""
    section = re.search(r"^## Steps that may be skipped$(.*?)(?=^## |\Z)", text, re.M | re.S)
    return bool(section) and re.search(rf"^- `{re.escape(step)}`:", section[1], re.M) is not None
