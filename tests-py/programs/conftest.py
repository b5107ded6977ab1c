"""Collects the programs of this folder: one process writes, and another reads. They pass on native HDF5 too
(--native), so that they test the behaviour of HDF5 and not of h5lake alone.

The cases of a program run one after another, in as few processes as crashes allow. A pool of threads runs several
programs at a time, because all the work is in those processes. So pytest itself needs one process, and knows which
program left which files.

Lines at the head of a program: '# only: CONNECTOR', '# requires: FILE' in tests-py/requirements, '# needs: tool' for
the tool h5lake, '# store: any' if the program chooses its stores itself, or tests behaviour that is the same in each
store. With --sample these programs are left out if the files are in a store: the run with local files includes them.
'# schemes: file,s3' leaves a program out if the files are in a store of another scheme."""

import ast
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness import RESULTS, cargo, connector as connectors
from harness.results import FAILED
from harness.suite import Suite

HERE = Path(__file__).resolve().parent
KINDS = ("write", "read", "check")
ON_PURPOSE = {"broken.h5", "empty.h5", "text.h5", "short.h5", "zeros.h5", "half.h5"}


def cases(text):
    """Returns the names of a program's cases: writers first, then readers, then checks. A module that does not call
    main() is no program, whatever its functions are called."""
    if not re.search(r"^\s*main\(", text, re.M):
        return []
    names = []
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.FunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign):
            names += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return [name for kind in KINDS for name in names if name.startswith(f"{kind}_")]


class Program(pytest.File):
    """One program."""

    def collect(self):
        text = self.path.read_text()
        remarks = dict(re.findall(r"^# (only|requires|needs|store|schemes|run): (\S+)$", text, re.M))
        if remarks.get("store") == "any" and self.config.suite.is_sample:
            return
        scheme = re.search(r"\bstore=(\w+(?:\+\w+)*):", self.config.suite.connector.string or "")
        if scheme and "schemes" in remarks and scheme[1] not in remarks["schemes"].split(","):
            return
        if remarks.get("run") == "alone" and not any(arg.split("::")[0].endswith(self.path.name) for arg in self.config.args):
            return
        self.requires, self.needs_tool = remarks.get("requires", "h5py.txt"), remarks.get("needs") == "tool"
        if remarks.get("only") in (None, self.config.suite.connector.name):
            yield from (Case.from_parent(self, name=name) for name in cases(text))


class Failed(Exception):
    """A case failed; has the output of the case."""


class Case(pytest.Item):
    """One case. It runs in a process of its program, and this object waits for its outcome."""

    duration = 0

    def runtest(self):
        outcome, said, self.duration = self.config.suite.runs[self.path].result()[self.name]
        if outcome == FAILED:
            raise Failed(said)

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if excinfo.errisinstance(Failed) else super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, None, f"{self.path.stem}: {self.name}"


class Programs(Suite):
    """The programs' suite."""

    def __init__(self, config):
        self.others = dict(pair.split("=", 1) for pair in config.option.requirements)
        super().__init__(config, "programs", "programs ({step})", "h5py", HERE, limit=180, conditions=self.others.values())
        self.part |= self.is_sample
        self.work = None
        self.pool, self.living, self.runs, self.sightings = None, set(), {}, []

    @property
    def is_sample(self):
        """Returns whether programs for which the store does not matter are left out."""
        return self.config.option.sample and self.connector.in_store

    def is_selected(self):
        return super().is_selected() or self.is_sample

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "call":
            report.duration = item.duration
        return report

    def pytest_collection_finish(self, session):
        """Starts every program when the selected cases are known."""
        wanted = {}
        for item in session.items:
            wanted.setdefault(item.parent, []).append(item.name)
        if not wanted or self.config.option.collectonly:
            return
        pythons = {name: self.python(name) for name in {program.requires for program in wanted}}
        tool = cargo.tool() if any(program.needs_tool for program in wanted) else ""
        self.work = Path(tempfile.mkdtemp(prefix="h5lake-programs-"))
        self.work.chmod(0o755)
        (RESULTS / self.step).mkdir(parents=True, exist_ok=True)
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        for program, names in wanted.items():
            self.runs[program.path] = self.pool.submit(self.run, pythons[program.requires], program.path, names, tool)

    def python(self, requirements):
        """Returns the Python of the environment for a requirements file, or for the file that replaces it."""
        file = HERE.parent / "requirements" / self.others.get(requirements, requirements)
        made = subprocess.run([HERE.parent / "venv", file], stdout=subprocess.PIPE, text=True)
        if made.returncode:
            self.skip(f"{requirements} cannot be installed")
        return made.stdout.strip()

    def run(self, python, program, names, tool):
        """Runs cases of one program: writers in one process, readers in another, checks in a third. Returns {case:
        outcome}."""
        folder = self.work / program.stem
        folder.mkdir()
        env = self.connector.at(folder).env(PYTHONDONTWRITEBYTECODE=1, TMPDIR=folder, TOOL=tool)
        if self.connector.in_store:
            # The cases run in folders of their own, but their short names are the same keys in one store.
            env["H5LAKE_REPLACE"] = "any"
        log = RESULTS / self.step / f"{program.stem}.log"
        log.write_bytes(b"")
        # A selected reader needs the file of its writer.
        writers = [name.replace("read_", "write_", 1) for name in names if name.startswith("read_")]
        outcomes = {}
        for kind in KINDS:
            left = [name for name in dict.fromkeys([*writers, *names]) if name.startswith(f"{kind}_")]
            while left:
                outcomes |= self.run_process([python, program, folder, *left], env, folder, log, left)
                left = [name for name in left if name not in outcomes]
        self.sightings += strange(folder)
        return outcomes

    def run_process(self, command, env, folder, log, left):
        """Runs cases one after another. A crash or a hang fails the present case, and ends only this process. Each
        case prints when it begins and ends, so that the limit applies to the silence in between."""
        with open(log, "ab") as output:
            start = output.tell()
            process = subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
            self.living.add(process.pid)
            if self.ends(process, output, len(left)):
                code = process.wait()
                how = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"exit {code}"
            else:
                os.killpg(process.pid, signal.SIGKILL)
                code, how = process.wait(), f"over the time limit of {self.limit} s"
            self.living.discard(process.pid)
        text = log.read_bytes()[start:].decode(errors="replace")
        outcomes, all_ended = {}, True
        for case, said in re.findall(r"^running (\S+)$(.*?)(?=^running |\Z)", text, re.M | re.S):
            ended = re.search(rf"^(passed|failed) {case} (\S+)$", said, re.M)
            all_ended &= bool(ended)
            outcomes[case] = ((ended[1], said[:ended.start()].strip(), float(ended[2])) if ended
                              else (FAILED, f"{how}\n{said.strip()[-3000:]}", 0))
        if not outcomes:
            outcomes[left[0]] = (FAILED, f"{how}\n{text.strip()[-3000:]}", 0)
        elif code and all_ended and len(outcomes) == len(left):
            self.add_problem(f"{log.stem}: the process ended badly after its last case: {how}")
        return outcomes

    def ends(self, process, output, cases):
        """Waits for the end of a process. Returns whether it ended before its log was silent for longer than the
        limit, and within the limit of all its cases together."""
        said, since = 0, time.monotonic()
        latest = since + self.limit * cases
        while time.monotonic() < min(since + self.limit, latest):
            try:
                process.wait(timeout=1)
                return True
            except subprocess.TimeoutExpired:
                size = os.fstat(output.fileno()).st_size
                if size > said:
                    said, since = size, time.monotonic()
        return False

    def close(self):
        if self.pool is None:
            return
        self.pool.shutdown(wait=False, cancel_futures=True)
        for pid in list(self.living):  # after -x or Ctrl-C
            os.killpg(pid, signal.SIGKILL)
        self.pool.shutdown()
        shutil.rmtree(self.work, ignore_errors=True)
        self.prove(self.sightings, needed=0 if self.part else 1)


def strange(folder):
    """Returns (name, kind) of every file that a program left. Damaged files, copies and intentional native files are
    left out (by their names, or that of their folder), because they prove nothing."""
    return [(str(path.relative_to(folder.parent)), connectors.kind_of(path))
            for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
            and path.name not in ON_PURPOSE and not path.name.startswith("native")
            and not path.parent.name.startswith("native-")]


def pytest_addoption(parser):
    parser.getgroup("h5lake").addoption("--requirements", action="append", default=[], metavar="FILE=OTHER",
                                        help="another requirements file in the place of one: other versions of clients")


def pytest_configure(config):
    Programs(config)
    config.addinivalue_line("python_files", "*.py")


def pytest_pycollect_makemodule(module_path, parent):
    return Program.from_parent(parent, path=module_path)
