"""Runs HDF5's programs of testpar under a connector, each listed test in separate processes.

A test is 'testphdf5: cdsetw' or 't_shapesame: sscontig1'. A test that reads the file of another test (`READS`) runs
after that test, in the same processes. Programs without a list of tests print their steps; each of their lines is then
a test, or the whole program is one. exceptions.json has the reasons for differences under h5lake:
    left out      tests that are not run
    not native    tests for which the connector is reported as not native, as testpar provides for: they then skip the
                  checks of native structures and of sizes of native files
    native files  files that the tests create natively on purpose
known-failures.json lists the known failures. With --sample, only the tests in `SAMPLE` are run.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402
from harness import RESULTS, ROOT, connector as connectors, mpi  # noqa: E402
from harness.results import FAILED, PASSED, SKIPPED, skip_step, step_name  # noqa: E402
from harness.suite import ReplayedSuite  # noqa: E402

RANKS = 4
# The tests that every run of `make test` includes: one of each kind, within two minutes.
SAMPLE = {"testphdf5": ["split", "delete", "idsetw", "idsetr", "cdsetw", "cdsetr", "eidsetw", "eidsetr", "ecdsetw",
                        "selnone", "cmpdsetr", "zerodsetr", "ndsetw", "compact", "fill", "cchunk1", "cchunk3", "cchunk4",
                        "ccontw", "ccontr", "null", "edpl", "atomicity", "denseattr", "COLLIO_INDMDWR"],
          "t_shapesame": ["sscontig2"], "t_pflush": [None], "t_pread": [None]}
READS = {"idsetr": "idsetw", "cdsetr": "cdsetw", "eidsetr": "eidsetw", "ecdsetr": "ecdsetw", "ngrpr": "ngrpw",
         "ccontr": "ccontw", "cschunkr": "cschunkw", "ccchunkr": "ccchunkw"}
COMPLAINT = re.compile(r"VRFY \((.*)\) failed at line +(\d+) in (?:.*/)?(\w+\.c)|THERE WAS A REAL ERROR.*|\*FAILED\*"
                       r"|h5_compare.*differ|.*[Aa]ssertion.*failed.*")


def first_complaint(text):
    """Returns a program's first complaint, or its last line."""
    found = COMPLAINT.search(text)
    lines = [line for line in text.splitlines() if line.strip()]
    if found and found[2]:
        return f"VRFY ({found[1]}), line {found[2]} of {found[3]}"
    return found[0].strip()[:240] if found else (lines or ["it said nothing"])[-1][:240]


class Runner:
    """The programs, and the parameters of running them under one connector."""

    def __init__(self, programs, connector, work, limit):
        self.programs, self.connector, self.work, self.limit = programs, connector, work, limit
        self.sightings = []
        self.logs = RESULTS / "testpar" / connector.name
        self.logs.mkdir(parents=True, exist_ok=True)

    def run(self, name, folder, program, *arguments, **more):
        """Runs a program in a folder; returns (exit status or None if it took too long, output)."""
        place = self.work / folder
        place.mkdir(exist_ok=True)
        env = self.connector.at(place).env(HDF5_PARAPREFIX=".", HDF5_ALARM_SECONDS=self.limit,
                                           TMPDIR=place, **mpi.variables(), **more)
        path = self.logs / f"{name.replace('/', '-')}.out"
        with open(path, "wb") as out, connectors.Watcher(place, self.work / f"kept-{len(self.sightings)}") as seen:
            process = subprocess.Popen(["mpiexec", "-n", str(RANKS), self.programs / program, *arguments], cwd=place,
                                       env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            try:
                code = process.wait(timeout=self.limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
        self.sightings.append((name, seen.files()))
        return code, path.read_text(errors="replace")

    def outcome(self, name, folder, program, *arguments, **more):
        """Returns the outcome of a program that reports only by its exit status."""
        code, text = self.run(name, folder, program, *arguments, **more)
        if code is None:
            return FAILED, f"over the time limit of {self.limit} s: {first_complaint(text)}"
        return (PASSED, "") if code == 0 else (FAILED, f"exit {code}: {first_complaint(text)}")

    def flushes(self):
        """Runs t_pflush1, which leaves two files open, one of them flushed, and always fails; t_pflush2 checks these
        files."""
        _, text = self.run("t_pflush1", "t_pflush", "t_pflush1")
        wrong = "REAL ERROR" in text or "PASSED" not in text
        yield "t_pflush1", (FAILED, first_complaint(text)) if wrong else (PASSED, "")
        yield "t_pflush2", self.outcome("t_pflush2", "t_pflush", "t_pflush2")

    def lines(self, program):
        """Runs a program that prints 'Testing …', followed by the outcome: each such line is a test."""
        code, text = self.run(program, program, program)
        heading, found, test = "", {}, None
        for line in text.splitlines():
            if line.startswith("Testing for "):
                heading = line.removeprefix("Testing for ").strip()
            elif match := re.match(r"  Testing (.{1,60})", line):
                test = f"{program}: {heading}: {match[1].strip()}".replace("[", "(").replace("]", ")")
                is_skipped = "-SKIP-" in line
                found[test] = (SKIPPED, "by the program itself") if is_skipped else (FAILED, "it did not end")
            if test and found[test][1] == "it did not end" and "PASSED" in line:
                found[test] = PASSED, ""
            elif test and "FAILED" in line:
                found[test] = FAILED, "see the log"
        ended = code if code is not None else f"over the time limit of {self.limit} s"
        if code and not any(how == FAILED for how, _ in found.values()):
            found[f"{program}: the end"] = FAILED, f"exit {ended}: {first_complaint(text)}"
        return found


class TestPar(ReplayedSuite):
    """The suite. Its HDF5 is the build for MPI."""

    def __init__(self, config):
        if not config.option.hdf5:
            build_hdf5 = [ROOT / "tests-c" / "hdf5" / "build", "--parallel"]
            made = subprocess.run(build_hdf5, stdout=subprocess.PIPE, text=True)
            if made.returncode:
                skip_step(step_name("testpar"), "no MPI, or no HDF5 source to build from")
            config.option.hdf5 = Path(made.stdout.strip())
        sample = ", sample" if config.option.sample else ""
        name = "testpar-sample" if sample else "testpar"
        super().__init__(config, name, f"HDF5's testpar{sample}{{other}}", HERE, limit=600)

    def wanted(self, programs):
        """Returns (program, tests) to be run; None stands for the whole program."""
        every = {**{program: build.tests(programs, program) for program in build.LISTED},
                 **{program: [None] for program in ("t_pread", "t_pflush", "t_pmulti_dset", "t_filters_parallel",
                                                    "t_select_io_dset")}}
        if self.config.option.program:
            every = {program: tests for program, tests in every.items() if program in self.config.option.program}
        if self.config.option.only:
            every = {program: [t for t in tests if t in self.config.option.only] for program, tests in every.items()}
        if self.config.option.sample:
            every = {program: [t for t in tests if t in SAMPLE.get(program, ())] for program, tests in every.items()}
        return every

    def is_selected(self):
        option = self.config.option
        return bool(option.sample or option.program or option.only) or super().is_selected()

    def run(self):
        programs = build.built(self.prefix)
        if programs is None:
            self.skip("no HDF5 source to build it from")
        exceptions = json.loads((HERE / "exceptions.json").read_text()) if self.connector.is_ours else {}
        left_out, not_native, native_files = (exceptions.get(n, {}) for n in ("left out", "not native", "native files"))
        outcomes = {}
        with tempfile.TemporaryDirectory(prefix="h5lake-testpar-") as work:
            runner = Runner(programs, self.connector, Path(work), self.limit)
            for program, tests in self.wanted(programs).items():
                for test in tests:
                    name = f"{program}: {test}" if test else program
                    if name in left_out:
                        outcomes[name] = SKIPPED, left_out[name]
                    elif program == "t_pflush":
                        outcomes.update(runner.flushes())
                    elif program == "t_select_io_dset":
                        outcomes.update(runner.lines(program))
                    else:
                        more = dict(TESTPAR_NOT_NATIVE=1) if name in not_native else {}
                        only = [word for t in (READS.get(test), test) if t for word in ("-o", t)]
                        outcomes[name] = runner.outcome(name, program, program, *only, **more)
        seen = [(f"{name}: {file}", kind) for name, files in runner.sightings for file, kind in files]
        self.prove([(file, kind) for file, kind in seen if file not in native_files])
        return outcomes


def pytest_addoption(parser):
    group = parser.getgroup("h5lake")
    group.addoption("--program", action="append", help="only this program (testphdf5, t_shapesame, t_pread, ...)")
    group.addoption("--only", action="append", metavar="TEST", help="only this test of a program's list")


def pytest_configure(config):
    TestPar(config)
