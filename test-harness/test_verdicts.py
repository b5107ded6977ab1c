"""A run fails, and states the reason, if a case fails, crashes, hangs or passes unexpectedly, or if a count falls or is
missing."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ["pytest.ini", ".ci/test", "test-harness/harness", "tests-py/run", "tests-py/venv",
          "tests-py/requirements", "tests-py/programs/conftest.py", "tests-py/programs/cases.py"]
TABLE = "from harness.steps import Step\n\nSTORES, GROUPS = {}, {}\n"
HEAD = "import os\nimport time\n\nfrom cases import main\n\n\n"
GOOD = "def write_numbers(f):\n    f['x'] = 1\n\n\ndef read_numbers(f):\n    assert f['x'][()] == 1\n\n\n"


@pytest.fixture
def project(tmp_path):
    """Makes a copy of the runner of programs, with programs of its own."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    return tmp_path


def step(project, *cases, known=None, recorded=0, command=("tests-py/run", "--native", "--limit", "10"), ci="false"):
    """Runs cases as a step. Returns whether it fails, its output, and its last line."""
    programs = project / "tests-py" / "programs"
    (programs / "made.py").write_text(HEAD + GOOD + "\n\n".join(cases) + "\n\nmain(globals())\n")
    (programs / "known-failures.json").write_text(json.dumps({"always": known or {}}))
    row = dict(suite="programs (programs)", version="h5py", passed=recorded, failed=0, skipped=0, remark="")
    (project / "docs" / "status.json").write_text(json.dumps({"counts": {"h5lake": [row]}, "may be skipped": {}}))
    (project / ".ci" / "steps.py").write_text(f"{TABLE}STEPS = [Step('programs', {shlex.join(command)!r}, 1, needs='')]\n")
    env = {k: v for k, v in os.environ.items() if k != "H5LAKE_TEST_STEP"} | {"CI": ci}
    done = subprocess.run([".ci/test", "programs"], cwd=project, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr, done.stdout.splitlines()[-1]


def test_good_cases_pass(project):
    code, said, total = step(project, recorded=2)
    assert (code, total) == (0, "2 passed, 0 failed, 0 skipped"), said


@pytest.mark.parametrize("body, reason", [
    ("assert 1 == 2, 'not equal'", "AssertionError: not equal"),
    ("os.abort()", "crashed (SIGABRT)"),
    ("os._exit(0)", "exit 0"),
    ("time.sleep(60)", "over the time limit of 10 s"),
])
def test_a_bad_case_fails_alone(project, body, reason):
    code, said, total = step(project, f"def check_bad(folder):\n    {body}", "def check_next(folder):\n    pass")
    assert (code, total) == (1, "3 passed, 1 failed, 0 skipped"), said
    assert reason in said and "FAILED tests-py/programs/made.py::check_bad" in said, said


def test_a_short_run_reaches_the_cases(project, monkeypatch):
    monkeypatch.setenv("H5LAKE_TEST_PART", "7")
    code, said, total = step(project, "def check_part(folder):\n    import cases\n    assert cases.PART == 7")
    assert (code, total) == (0, "3 passed, 0 failed, 0 skipped"), said


def test_a_bad_end_of_a_process_fails_the_run(project):
    bad = "def check_end(folder):\n    import atexit\n    atexit.register(os._exit, 7)"
    code, said, total = step(project, bad)
    assert (code, total) == (1, "3 passed, 1 failed, 0 skipped"), said
    assert "PROBLEM made: the process ended badly after its last case: exit 7" in said, said


def test_a_known_failure_counts_as_skipped(project):
    known = {"made.py::check_bad": "because"}
    code, said, total = step(project, "def check_bad(folder):\n    os.abort()", known=known)
    assert (code, total) == (0, "2 passed, 0 failed, 1 skipped"), said


def test_a_known_failure_that_passes_fails_the_run(project):
    code, said, total = step(project, "def check_good(folder):\n    pass", known={"made.py::check_good": "because"})
    assert (code, total) == (1, "2 passed, 1 failed, 0 skipped"), said
    assert "[XPASS(strict)] known failure: because" in said, said


def test_a_known_failure_is_a_test_and_has_a_reason(project):
    code, said, _ = step(project, known={"made.py::check_absent": "because"})
    assert code == 1 and "PROBLEM a known failure that is no test: made.py::check_absent" in said, said
    code, said, _ = step(project, known={"made.py::read_numbers": " "})
    assert code == 1 and "a known failure needs its reason" in said, said


def test_a_count_never_falls(project):
    code, said, total = step(project, recorded=3)
    assert (code, total) == (1, "2 passed, 1 failed, 0 skipped"), said
    assert "PROBLEM 2 pass, docs/status.json has 3: a count never falls" in said, said


def test_files_of_another_connector_fail_the_run(project):
    foreign = "def check_foreign(folder):\n    open('a.h5', 'wb').write(b'\\x89HDF\\r\\n\\x1a\\n\\x4ch5lake\\0')"
    code, said, _ = step(project, foreign)
    assert code == 1 and "PROBLEM not native files: made/foreign/a.h5" in said, said


def test_a_step_without_counts_fails(project):
    code, said, total = step(project, command=["true"])
    assert (code, total) == (1, "0 passed, 1 failed, 0 skipped") and "FAILED programs: it left no counts" in said, said


def test_a_report_that_is_cut_off_fails(project):
    cut = "mkdir -p target/test-results && echo '<testsuites><testsuite' > target/test-results/programs.xml"
    code, said, total = step(project, command=["sh", "-c", cut])
    assert (code, total) == (1, "0 passed, 1 failed, 0 skipped"), said


@pytest.mark.parametrize("ci, wanted", [("false", "0 passed, 0 failed, 1 skipped"), ("true", "0 passed, 1 failed, 0 skipped")])
def test_a_step_that_cannot_run_is_skipped_but_not_under_ci(project, ci, wanted):
    made = project / "tests-py" / "venv"
    made.rename(made.with_name("real-venv"))
    made.write_text('#!/bin/sh\ncase $1 in *h5py.txt) exit 3;; esac\nexec "${0%/*}/real-venv" "$1"\n')
    made.chmod(0o755)
    code, said, total = step(project, ci=ci)
    assert (code, total) == (1, wanted) and "skipped: programs: h5py.txt cannot be installed" in said, said
