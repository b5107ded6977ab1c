"""docs/status.json: the counts that must not fall, the last complete run of each long suite, and the steps that may be
skipped. docs/status.md shows them in tables."""

import datetime
import json
import re

from . import ROOT

DATA = ROOT / "docs" / "status.json"
PAGE = ROOT / "docs" / "status.md"
SKIPS, RUNS = "may be skipped", "long suites"
TABLE = re.compile(r"(?<=^<!-- table: )(?P<name>[^>]+)(?P<end> -->\n)(?P<rows>.*?)(?=^<!-- end -->$)", re.M | re.S)


def load():
    """Returns the whole file: rows of counts by their table, and the reasons why steps may be skipped."""
    return json.loads(DATA.read_text())


def row_of(data, suite, version):
    """Returns the row of a suite, or None."""
    rows = (row for table in data["counts"].values() for row in table)
    return next((row for row in rows if (row["suite"], row["version"]) == (suite, version)), None)


def counts_of(suite, version):
    """Returns the recorded (passed, failed, skipped) of a suite, or None if it has no row."""
    row = row_of(load(), suite, version)
    return row and (row["passed"], row["failed"], row["skipped"])


def record(suite, version, passed, failed, skipped):
    """Writes a suite's counts into its row and the page. The row must exist, so that a new suite is entered
    manually."""
    data = load()
    row = row_of(data, suite, version)
    if row is None:
        raise SystemExit(f"{DATA}: no row '{suite}', version '{version}', to record in")
    row.update(passed=passed, failed=failed, skipped=skipped)
    DATA.write_text(as_text(data))
    PAGE.write_text(page(data, PAGE.read_text()))


def record_runs(counts, steps):
    """Writes the date and the sums of each long suite with a complete run of its steps. `counts` are those of the steps
    that ran."""
    data = load()
    for row in data[RUNS]:
        members = [name for name, step in steps.items() if step.is_in(row["group"])]
        if members and all(name in counts for name in members):
            row["date"] = datetime.date.today().isoformat()
            row.update({key: sum(counts[name][key] for name in members) for key in ("passed", "failed", "skipped", "known")})
    DATA.write_text(as_text(data))
    PAGE.write_text(page(data, PAGE.read_text()))


def may_skip(step):
    """Returns whether this step may be skipped under CI."""
    return step in load()[SKIPS]


def as_text(data):
    """Returns the file's text: one row per line, so that a change of a count is a change of its line."""
    def joined(lines):
        return ",\n".join(lines)

    tables = joined(f"  {json.dumps(name)}: [\n" + joined(f"    {json.dumps(row)}" for row in rows) + "\n  ]"
                    for name, rows in data["counts"].items())
    runs = joined(f"    {json.dumps(row)}" for row in data[RUNS])
    skips = joined(f"    {json.dumps(step)}: {json.dumps(why)}" for step, why in data[SKIPS].items())
    return f'{{\n"counts": {{\n{tables}\n}},\n{json.dumps(RUNS)}: [\n{runs}\n],\n{json.dumps(SKIPS)}: {{\n{skips}\n}}\n}}\n'


def page(data, text):
    """Returns the page with regenerated tables."""
    def table(found):
        name = found["name"]
        if name == SKIPS:
            rows = [f"- `{step}`: {why}" for step, why in data[SKIPS].items()]
        elif name == RUNS:
            rows = ["| group | what it runs | last whole run | passed | failed | known failures | skipped |",
                    "| --- | --- | --- | ---: | ---: | ---: | ---: |"]
            rows += ["| {group} | {what} | {date} | {passed} | {failed} | {known} | {skipped} |".format(**row) if row.get("date") else
                     "| {group} | {what} | not recorded | | | | |".format(**row) for row in data[RUNS]]
        else:
            rows = ["| suite | version | passed | failed | skipped | known failures, remarks |",
                    "| --- | --- | ---: | ---: | ---: | --- |"]
            rows += ["| {suite} | {version} | {passed} | {failed} | {skipped} | {remark} |".format(**row)
                     for row in data["counts"][name]]
        return f"{name}{found['end']}\n" + "\n".join(rows) + "\n\n"

    return TABLE.sub(table, text)
