"""A plugin of pytest for the test suites of clients: it records the connector of each file that the clients open,
and checks the result. It changes no test."""

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import pytest
from harness import connector as connectors
from harness.suite import Suite

HERE = Path(__file__).resolve().parent
# The limit in seconds for the end of a test process. xdist kills the process after 10 seconds, which may be too few on
# a busy machine.
END_SECONDS = 120
CREATING = ("w", "w-", "x")
# A client's package, and its name in docs/status.json.
CLIENTS = {"h5py": ("h5py", "h5py's own suite"), "pytables": ("tables", "PyTables' own suite"),
           "h5netcdf": ("h5netcdf", "h5netcdf's own suite"), "emcee": ("emcee", "emcee's backend tests"),
           "pandas": ("pandas", "pandas' pytables tests")}


def pytest_addoption(parser):
    group = parser.getgroup("h5lake")
    group.addoption("--client", choices=CLIENTS, help="whose suite it is")
    group.addoption("--all", action="store_true", help="the slow modules too")
    group.addoption("--unit", action="append", help="only test files whose name contains this")


class ClientSuite(Suite):
    """The test suite of a client."""

    def __init__(self, config):
        client = config.option.client
        package, title = CLIENTS[client]
        version = ".".join(importlib.metadata.version(package).split(".")[:2])
        part = ", part" if client == "pytables" and not config.option.all else ""
        super().__init__(config, f"{client}-suite", f"{title}{part}{{other}}", version, HERE / "known-failures", client)
        if self.is_worker:
            self.work = Path(config.workerinput["work"])
        else:
            self.work = Path(tempfile.mkdtemp(prefix=f"h5lake-{client}-"))
        self.processes = []
        # Each process has a working folder of its own for the files that its tests leave.
        own = self.work / (config.workerinput["workerid"] if self.is_worker else "main")
        own.mkdir()
        os.environ["TMPDIR"], tempfile.tempdir = str(own), None
        if self.is_worker or not config.option.numprocesses:
            os.chdir(own)
            watch(self.work / "notes", ["tables"] if client in ("pytables", "pandas") else ["h5py"])

    def is_selected(self):
        return bool(self.config.option.keyword or self.config.option.unit)

    def name_of(self, nodeid):
        return nodeid

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.nodemanager.EXIT_TIMEOUT = END_SECONDS
        node.workerinput["work"] = str(self.work)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        # If a process crashed in a test, that test has failed already.
        if not error:
            self.processes.append(node.gateway._io.popen)

    def close(self):
        for process in self.processes:
            if process.wait(60) < 0:
                self.add_problem(f"a process crashed when it ended: {signal.Signals(-process.returncode).name}")
        notes = self.work / "notes"
        files = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        count, native_created = kinds(files)
        self.lines += [f"files opened by {client}: {number} times {name}, {kind}"
                       for (client, name, kind), number in sorted(count.items())]
        self.add_problem(proof(self.connector, count, native_created))

    def pytest_unconfigure(self):
        super().pytest_unconfigure()
        if not self.is_worker:
            shutil.rmtree(self.work, ignore_errors=True)


def pytest_configure(config):
    ClientSuite(config)


def kind_of(head):
    """Returns the kind of a file by its first bytes."""
    return ("container" if head in (connectors.CONTAINER, connectors.POINTER) else
            "native" if head.startswith(connectors.SIGNATURE) else "unwritten or elsewhere")


def kinds(files):
    """Counts the files by client, connector and kind. Also returns the tests that should have created files of
    h5lake but did not."""
    count, native_created = Counter(), []
    for entry in files:
        kind = kind_of(bytes.fromhex(entry["head"]))
        count[(entry["by"], entry["file"], kind)] += 1
        if entry["mode"] in CREATING and not entry["driver"] and (kind == "native" or entry["file"] != "h5lake"):
            native_created.append(entry["test"])
    return count, native_created


def proof(connector, count, native_created):
    """Returns a problem if the files are not those of this connector, or None."""
    if connector.passes_native:
        passed = sum(n for (_, name, kind), n in count.items() if name == "h5lake" and kind == "native")
        containers = sum(n for (_, _, kind), n in count.items() if kind == "container")
        return f"{containers} files were containers" if containers else None if passed else "no file was handed through"
    if connector.is_ours:
        if native_created:
            return f"{len(native_created)} files were created natively, the first in {native_created[0]}"
        ours = sum(n for (_, name, kind), n in count.items() if name == "h5lake" and kind == "container")
        return None if ours else "no file was a container"
    expected = sum(n for (_, name, _), n in count.items() if name == connector.name)
    return None if expected else f"no file was {connector.name}'s"


# --- Recording of files ------------------------------------------------------------------------------------------------

@functools.cache
def name_function(package):
    """Returns H5VLget_connector_name of the libhdf5 that a client's wheel contains and has loaded, or None."""
    for line in open("/proc/self/maps"):
        folder, _, name = line.split()[-1].rpartition("/")
        if name.startswith("libhdf5") and not name.startswith("libhdf5_hl") and folder.endswith(f"{package}.libs"):
            function = ctypes.CDLL(f"{folder}/{name}").H5VLget_connector_name
            function.argtypes = (ctypes.c_int64, ctypes.c_char_p, ctypes.c_size_t)
            function.restype = ctypes.c_ssize_t
            return function
    return None


def head_of(name):
    """Returns the first bytes at a file's path."""
    try:
        with open(name, "rb") as file:
            return file.read(16)
    except (OSError, TypeError, ValueError):
        return b""


def watch(notes, packages):
    """Records every file that these clients open: one line of JSON each, written to the file of notes."""
    file = open(notes, "a", buffering=1)

    def note(package, file_id, path, mode, driver):
        buffer = ctypes.create_string_buffer(64)
        function = name_function(package)
        length = function(file_id, buffer, len(buffer)) if function else 0
        connector = buffer.value.decode() if length > 0 else "unknown"
        file.write(json.dumps(dict(file=connector, by=package, mode=mode, driver=str(driver) if driver else None,
                                   head=head_of(path).hex(), test=os.environ.get("PYTEST_CURRENT_TEST", "?"))) + "\n")

    for package in packages:
        {"h5py": watch_h5py, "tables": watch_tables}[package](note)


def replace_init(owner, noting_init):
    """Replaces a class's initializer by one with the signature that users see."""
    functools.update_wrapper(noting_init, owner.__init__)
    owner.__init__ = noting_init


def watch_h5py(note):
    """Records the files of h5py."""
    import h5py

    init = h5py.File.__init__

    def noting_init(self, name, mode="r", driver=None, *args, **kwargs):
        init(self, name, mode, driver, *args, **kwargs)
        if not isinstance(name, h5py.h5f.FileID) and isinstance(name, (str, bytes, os.PathLike)):
            with h5py._hl.base.phil:
                note("h5py", self.id.id, self.filename, mode, driver)

    replace_init(h5py.File, noting_init)


def watch_tables(note):
    """Records the files of PyTables."""
    import tables

    init = tables.File.__init__

    def noting_init(self, filename, mode="r", *args, **kwargs):
        init(self, filename, mode, *args, **kwargs)
        # PyTables uses the mode "w" for a file in memory too.
        note("tables", self._get_file_id(), self.filename, mode, kwargs.get("driver") or kwargs.get("DRIVER"))

    replace_init(tables.File, noting_init)


# --- PyTables' tests are no pytest tests: each module has a function suite() ------------------------------------------

def flat(suite):
    """Returns the tests of a suite, in their order."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


class SuiteModule(pytest.File):
    """A module with a function suite(). If a suite contains a test several times, each one gets a number."""

    def collect(self):
        site = Path(importlib.util.find_spec("tables").origin).parents[1]
        module = importlib.import_module(".".join(self.path.relative_to(site).with_suffix("").parts))
        seen = Counter()
        for test in flat(module.suite()):
            name = test.id().removeprefix(f"{module.__name__}.")
            seen[name] += 1
            yield SuiteItem.from_parent(self, name=name if seen[name] == 1 else f"{name} ({seen[name]})", test=test)


class SuiteItem(pytest.Item):
    """One test of such a suite."""

    def __init__(self, *, test, **kwargs):
        super().__init__(**kwargs)
        self.test = test

    def runtest(self):
        result = unittest.TestResult()
        unittest.TestSuite([self.test]).run(result)
        for _, trace in result.errors + result.failures:
            raise AssertionError(trace)
        if result.unexpectedSuccesses:
            raise AssertionError("was expected to fail")
        for _, reason in result.skipped:
            pytest.skip(reason)
        if result.expectedFailures:
            pytest.xfail("expected to fail, by the suite itself")

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if excinfo.errisinstance(AssertionError) else super().repr_failure(excinfo)


def pytest_pycollect_makemodule(module_path, parent):
    if parent.config.option.client == "pytables":
        return SuiteModule.from_parent(parent, path=module_path)
    return None
