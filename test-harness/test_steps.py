"""The program that runs test steps: the steps that run, the causes that fail a run, and the results that remain."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import status
from harness.steps import ALWAYS, CI, LONG, Step, Store, expand, of_groups, usual

ROOT = Path(__file__).resolve().parents[1]
HEAD = """
from harness.steps import CARGO, CI, LONG, ONE, Step, Store

STORES = {"here": Store("env ON=here", "h5lake store=x", "served")}
GROUPS = {"all": "slow served"}
"""
COUNTED = "cat > target/test-results/$H5LAKE_TEST_STEP.xml <<'END'\n<testsuite tests='4' failures='{}' errors='0' skipped='1'/>\nEND\n"
CARGO_LINES = "printf 'test result: ok. 3 passed; 0 failed; 1 ignored\\ntest result: ok. 2 passed; 0 failed; 0 ignored\\n'"


@pytest.fixture
def project(tmp_path):
    """Makes a copy of the program, without steps."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / ".ci/test", tmp_path / ".ci")
    shutil.copytree(ROOT / "test-harness/harness", tmp_path / "test-harness/harness")
    (tmp_path / "docs/status.md").write_text("<!-- table: long suites -->\n<!-- end -->\n")
    rows = [dict(group="slow", what="it takes hours", date=None), dict(group="served", what="a server", date=None)]
    (tmp_path / "docs/status.json").write_text(json.dumps(
        {"counts": {}, "long suites": rows, "may be skipped": {"listed": "needs a cluster"}}))
    for name, failed in (("good", 0), ("bad", 2)):
        script(tmp_path, name, COUNTED.format(failed))
    return tmp_path


def script(project, name, text):
    (project / name).write_text(f"#!/bin/sh\n{text}\n")
    (project / name).chmod(0o755)


def run(project, rows, *arguments, **variables):
    """Runs the program with these rows as its table. Returns its exit status, its lines, and its whole output."""
    (project / ".ci/steps.py").write_text(f"{HEAD}STEPS = [{rows}]\n")
    env = {k: v for k, v in os.environ.items() if k not in ("H5LAKE_TEST_STEP", "H5LAKE_TEST_PART", "CI")} | variables
    done = subprocess.run([".ci/test", *arguments], cwd=project, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines(), done.stdout + done.stderr


def test_the_last_line_is_the_sum_of_all_steps(project):
    rows = f"""Step("a", "./good", 1, needs=""), Step("b", "./good", 1), Step("d", "true", 1, counts=ONE),
               Step("c", ["sh -c {CARGO_LINES!r}"], 1, counts=CARGO)"""
    script(project, "lines", CARGO_LINES)
    code, lines, said = run(project, rows.replace(f"sh -c {CARGO_LINES!r}", "./lines"))
    assert (code, lines[-1]) == (0, "12 passed, 0 failed, 3 skipped"), said


@pytest.mark.parametrize("row, last", [
    ('Step("b", "./bad", 1)', "4 passed, 2 failed, 2 skipped"),
    ('Step("b", "false", 1, counts=ONE)', "3 passed, 1 failed, 1 skipped"),
    ('Step("b", "true", 1)', "3 passed, 1 failed, 1 skipped"),
    ('Step("b", "./absent", 1, counts=ONE)', "3 passed, 1 failed, 1 skipped"),
    ('Step("b", ["./good", "false"], 1)', "6 passed, 1 failed, 2 skipped"),
    ('Step("b", ["false", "./good"], 1)', "3 passed, 1 failed, 1 skipped"),
])
def test_a_step_that_fails_fails_the_run_and_the_others_run(project, row, last):
    code, lines, said = run(project, row + ', Step("a", "./good", 1, needs="b")')
    assert (code, lines[-1]) == (1, last), said


def test_the_end_of_a_run_repeats_what_failed(project):
    named = ("cat > target/test-results/$H5LAKE_TEST_STEP.xml <<'END'\n<testsuite tests='1' failures='1' errors='0' skipped='0'>"
             "<testcase classname='k' name='n'><failure message='1 is not 2&#10;more'/></testcase></testsuite>\nEND\n")
    script(project, "named", named + "echo 'progress'; exit 1")
    script(project, "crashed", "echo 'case 7 FAILED'\nseq 100\necho 'a crash'\nexit 3")
    code, lines, said = run(project, """Step("c", "./crashed", 1, counts=ONE), Step("n", "./named", 1, needs=""),
                                        Step("g", "./good", 1, needs="")""")
    end = lines[lines.index("=== failed in c:"):]
    assert (code, end[1]) == (1, "case 7 FAILED"), said
    assert end.index("a crash") < end.index("=== failed in n:") < len(end) - 1, said
    assert "50" not in end and "progress" not in end, said
    assert end[end.index("=== failed in n:") + 1] == "FAILED k n: 1 is not 2", said


def test_nothing_that_passed_is_no_success(project):
    code, lines, said = run(project, 'Step("a", "true", 1, when=LONG)')
    assert (code, lines[-1]) == (1, "0 passed, 0 failed, 0 skipped"), said


@pytest.mark.parametrize("name, ci, last", [("unlisted", "false", "3 passed, 0 failed, 2 skipped"),
                                            ("unlisted", "true", "3 passed, 1 failed, 1 skipped"),
                                            ("listed", "true", "3 passed, 0 failed, 2 skipped")])
def test_a_skipped_step_says_why_and_fails_in_ci_unless_it_is_listed(project, name, ci, last):
    (project / "skips").write_text(f"#!/usr/bin/env python3\nimport sys\nsys.path.insert(0, 'test-harness')\n"
                                   f"from harness.results import skip_step, step_name\nskip_step(step_name(''), 'no cluster')\n")
    (project / "skips").chmod(0o755)
    code, lines, said = run(project, f'Step("{name}", "./skips", 1), Step("a", "./good", 1)', CI=ci)
    assert (code, lines[-1]) == (int("1 failed" in last), last), said
    assert f"skipped: {name}: no cluster" in said, said


@pytest.mark.parametrize("arguments", [["a", "absent"], ["--group", "absent"]])
def test_unknown_names_are_refused_before_anything_runs(project, arguments):
    code, lines, said = run(project, 'Step("a", "touch ran", 1, counts=ONE)', *arguments)
    assert code == 2 and "absent" in said and not (project / "ran").exists(), said


def test_each_step_leaves_counts_and_time(project):
    code, _, said = run(project, 'Step("a", ["sleep 0.3", "./good"], 1)')
    text = (project / "target/test-results/a.xml").read_text()
    elapsed, processors = (float(re.search(rf'name="{name}" value="([\d.]+)"', text)[1]) for name in ("elapsed", "processors"))
    assert code == 0 and elapsed >= 0.3 and processors < 0.3, (text, said)


def test_output_of_steps_side_by_side_is_not_mixed(project):
    for name in "ab":
        script(project, f"say-{name}", f"for n in 1 2 3; do echo {name}$n; sleep 0.1; done")
    code, lines, said = run(project, 'Step("a", "./say-a", 1, counts=ONE), Step("b", "./say-b", 1, counts=ONE)')
    assert code == 0 and re.search("a1\na2\na3\n", said) and re.search("b1\nb2\nb3\n", said), said


def test_two_steps_run_at_a_time_and_one_begins_after_what_it_needs(project):
    script(project, "meet", 'touch "met-$1"\nfor n in $(seq 50); do [ -e "met-$2" ] && exit 0; sleep 0.1; done\nexit 1')
    rows = """Step("a", "./meet a b", 2, counts=ONE), Step("b", "./meet b a", 3, counts=ONE, needs=""),
              Step("c", "sh -c 'test -e made && test -e met-b'", 9, counts=ONE, needs="b", after="made absent"),
              Step("made", "touch made", 1, counts=ONE)"""
    code, lines, said = run(project, rows)
    assert (code, lines[-1]) == (0, "4 passed, 0 failed, 0 skipped"), said


def test_a_short_run_is_a_sample_and_a_named_step_is_whole(project):
    script(project, "say", 'echo "part $H5LAKE_TEST_PART, words $*"')
    rows = 'Step("a", "./say {sample} ${AMOUNT:-7}", 1, counts=ONE, needs="")'
    assert "part 4, words --sample 7" in run(project, rows)[2]
    assert "part , words 7" in run(project, rows, "a")[2]
    assert "part , words 9" in run(project, rows, "a", AMOUNT="9")[2]


def test_a_group_runs_with_what_it_needs_and_is_recorded_when_whole(project):
    rows = """Step("plugin", "true", 1, counts=ONE, needs=""), Step("other", "./bad", 1), Step("b", "./good", 1, LONG, groups="slow"),
              Step("c", "./bad ${AMOUNT:-7}", 1, LONG, groups="slow"), Step("{store}-d", "{on} ./good {connector}", 1, LONG, stores="here")"""
    page = project / "docs/status.md"
    code, lines, said = run(project, rows, "b", "--record")
    assert code == 0 and page.read_text().count("not recorded") == 2, said
    code, lines, said = run(project, rows, "--group", "slow", "--record", AMOUNT="1")
    assert code == 2 and "AMOUNT" in said, said
    code, lines, said = run(project, rows, "--group", "all", "--record")
    assert (code, lines[-1]) == (1, "8 passed, 2 failed, 3 skipped"), said
    assert re.search(r"^\| slow \| it takes hours \| \d{4}-\d\d-\d\d \| 4 \| 2 \| 0 \| 2 \|$", page.read_text(), re.M), page.read_text()
    assert re.search(r"^\| served \| a server \| \d{4}-\d\d-\d\d \| 3 \| 0 \| 0 \| 1 \|$", page.read_text(), re.M), page.read_text()


def test_a_run_that_is_ended_ends_its_steps(project):
    (project / ".ci/steps.py").write_text(HEAD + 'STEPS = [Step("a", "./serve", 1)]\n')
    script(project, "serve", 'trap "touch ended; exit 1" INT\ntouch begun\nwhile :; do sleep 0.1; done')
    process = subprocess.Popen([".ci/test"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + 30
    while not (project / "begun").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=40)[0]
    assert process.returncode and (project / "ended").exists(), said


def table():
    """Returns the project's own table."""
    spec = importlib.util.spec_from_file_location("rows", ROOT / ".ci/steps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return expand(module.STEPS, module.STORES)


def test_the_table_names_steps_that_are_there():
    steps, data = table(), status.load()
    assert not {name for step in steps.values() for name in step.before} - set(steps)
    for row in data[status.RUNS]:
        assert of_groups(steps, [row["group"]]), row
    for step in steps.values():
        assert step.when in (ALWAYS, CI, LONG) and step.minutes > 0, step
    assert {"plugin", "build", "rust", "programs"} <= {step.name for step in usual(steps, in_ci=False)}
    assert {step.name for step in usual(steps, True)} - {step.name for step in usual(steps, False)} == {"lint"}


def test_two_rows_with_one_name_are_refused():
    with pytest.raises(ValueError, match="a"):
        expand([Step("a", "true", 1), Step("{store}", "true", 1, stores="a")], {"a": Store("", "", "")})


def test_skips_name_steps_or_tests():
    unknown = set(status.load()[status.SKIPS]) - set(table()) - {"h5part"}
    assert not unknown


def test_the_innermost_crate_of_a_changed_file_is_tested():
    crates = runpy.run_path(str(ROOT / "tools/test-changed"))["crates"]
    files = ["connector/ledger/src/lib.rs", "src/lib.rs", "cli/Cargo.toml", "cli/README.md", "fuzz/src/lib.rs", "Cargo.toml"]
    assert crates(files) == {"h5lake-ledger": True, "h5lake": True, "h5lake-cli": False}
    assert crates(["README.md", "docs/format.md"]) == {}
