"""The connector of a run, and the kind of the files that the run left: a suite that fell back to native must not
pass."""

import os
import re
import shlex
import subprocess
import threading
import time
from pathlib import Path

from . import ROOT

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONTAINER = SIGNATURE + b"\x4ch5lake\0"  # docs/format.md: a superblock version that native HDF5 refuses
POINTER = SIGNATURE + b"\x4ch5lptr\0"  # the same, for a file that names a container in a store


def kind_of(path):
    """Returns 'container' (also for a file that names one), 'native' or 'other', from a file's first 16 bytes; None if
    it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return None
    if head in (CONTAINER, POINTER):
        return "container"
    return "native" if head.startswith(SIGNATURE) else "other"


class Connector:
    """A choice of connector, as its users make it: by two environment variables."""

    def __init__(self, string, plugin_path):
        self.string = string  # None: native, no variable is set
        # Programs run in folders of their own, so the path must be absolute.
        self.plugin_path = plugin_path and Path(plugin_path).resolve()
        self.variables = {}
        self.name = string.split()[0] if string else "native"
        self.is_ours = self.name == "h5lake"
        self.in_store = "store=" in (string or "")
        # For objects in such a store, 'h5lake publish' needs another URL.
        self.is_unknown_to_zarr = bool(re.search(r"store=(rados|swift|h5store)", string or ""))
        # With only= no file of a suite is a container: native files are passed through, and must behave as without the plugin.
        self.passes_native = self.is_ours and "only=" in string
        # HDF5's own pass-through connector, stacked on this one by its number.
        self.is_stacked = self.name == "pass_through" and "under_vol=496" in string
        self.files = "container" if (self.is_ours and not self.passes_native) or self.is_stacked else "native"

    def like(self, string):
        """Returns another connector with this one's plugin and variables."""
        other = Connector(string, self.plugin_path)
        other.variables = self.variables
        return other

    def at(self, folder):
        """Returns this connector with {work} in its string replaced by a folder."""
        return self.like(self.string and self.string.replace("{work}", str(folder)))

    def env(self, **more):
        """Returns a process environment with this connector and no other HDF5 setting. The environment still says
        whether the run is a short one (tests-py/programs/cases.py)."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_")) or k == "H5LAKE_TEST_PART"}
        if self.string:
            env["HDF5_VOL_CONNECTOR"] = self.string
        if self.plugin_path:
            env["HDF5_PLUGIN_PATH"] = str(self.plugin_path)
        env.update({k: str(v) for k, v in (self.variables | more).items()})
        return env

    def problem(self):
        """Returns why this connector cannot be used at all, or None."""
        if self.is_ours and not (Path(self.plugin_path) / "libh5lake.so").exists():
            return f"no libh5lake.so in {self.plugin_path}: run 'make plugin' first"
        return None


def add_arguments(parser):
    """Adds the options that select a runner's connector; `parser` is argparse's or pytest's."""
    add = getattr(parser, "addoption", None) or parser.add_argument
    add("--connector", default="h5lake", metavar="STRING", help="what HDF5_VOL_CONNECTOR is set to (default: h5lake)")
    add("--native", action="store_true", help="set no connector: native HDF5")
    add("--plugin-path", default=ROOT / "target" / "plugin", type=Path, help="the folder of libh5lake.so")


def from_arguments(args):
    """Returns the connector that the options select."""
    if args.native:
        return Connector(None, None)
    return Connector(args.connector, args.plugin_path)


def hdf5_prefix(other=None):
    """Returns the folder of HDF5's own build, built now if necessary; None with a reason if there is no source. `other`
    is the folder of another requested build."""
    if other:
        return other.resolve(), None
    run = subprocess.run([ROOT / "tests-c" / "hdf5" / "build"], stdout=subprocess.PIPE, text=True)
    if run.returncode == 0:
        return Path(run.stdout.strip()), None
    reason = "no HDF5 source to build from" if run.returncode == 3 else "HDF5 could not be built"
    return None, reason


def hdf5_version(prefix):
    """Returns the version in a build's folder name, such as '1.14.6'."""
    return prefix.name.split("-")[1]


def hdf5_archive(prefix):
    """Returns the source archive of the HDF5 that was built into `prefix`, or None if it does not exist."""
    found = subprocess.run([ROOT / "tests-c" / "hdf5" / "build", "--archive"], stdout=subprocess.PIPE, text=True)
    path = Path(found.stdout.strip())
    return path if found.returncode == 0 and re.match(rf"hdf5[-_]{hdf5_version(prefix)}\b", path.name) else None


def programs_folder(prefix):
    """Returns the folder of the programs that are compiled against a build."""
    return ROOT / "target" / "tests-c" / prefix.name


def compile_program(source, program, prefix, *flags):
    """Compiles one C file against a build of HDF5, with the function names of 1.14 and with warnings as errors. The
    program finds that library. It replaces an earlier build at once, because another step may run that one."""
    program.parent.mkdir(parents=True, exist_ok=True)
    built = program.with_name(f".{program.name}-{os.getpid()}")
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-D_GNU_SOURCE", "-g", "-O1",
                    "-Wall", "-Wextra", "-Werror", "-DH5_USE_114_API", f"-I{prefix}/include", "-o", built, source,
                    f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lhdf5_hl", "-lhdf5", *flags], check=True)
    built.replace(program)
    return program


def misnamed(connector, prefix, work):
    """Returns a list of problems with the connector that a plain program gets in the same environment, by its name and
    by its file."""
    program = compile_program(ROOT / "tests-c" / "probe.c", programs_folder(prefix) / "probe", prefix)
    run = subprocess.run([program, work / "probe.h5"], env=connector.env(), capture_output=True, text=True)
    expected = f"create: {connector.name}\nopen: {connector.name}\n"
    if run.returncode or run.stdout != expected:
        return [f"probe: wanted {expected!r}, got {run.stdout!r}, exit {run.returncode}, {run.stderr[-600:]}"]
    if kind_of(work / "probe.h5") != connector.files:
        return [f"probe: {connector.name} left no {connector.files} file"]
    return []


class Watcher:
    """Keeps a link to every file that appears in a folder, so that files which a test removes can be examined
    afterwards. It polls the folder instead of intercepting calls of the program under test."""

    def __init__(self, folder, kept):
        self.folder, self.kept = Path(folder), Path(kept)
        self.kept.mkdir(parents=True, exist_ok=True)
        self.seen = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self._look()

    def _watch(self):
        while not self.stop.is_set():
            self._look()
            time.sleep(0.0005)

    def _look(self):
        for entry in os.scandir(self.folder):
            try:
                if not entry.is_file(follow_symlinks=False) or entry.inode() in self.seen:
                    continue
                link = self.kept / f"{entry.inode()}-{entry.name}"
                os.link(entry.path, link)
                self.seen[entry.inode()] = (entry.name, link)
            except OSError:
                continue  # removed already, or a link of an earlier poll

    def files(self):
        """Returns (name, kind) of every file that was seen, by its last content."""
        return [(name, kind_of(link)) for name, link in self.seen.values()]


def whose(connector, sightings, needed=1):
    """Returns a verdict on the files that were seen during a run: (problem or None, one line for users)."""
    hdf5 = [(name, kind) for name, kind in sightings if kind in ("container", "native")]
    right = sorted({name for name, kind in hdf5 if kind == connector.files})
    wrong = sorted({name for name, kind in hdf5 if kind != connector.files})
    line = f"files seen: {len(right)} {connector.files}, {len(wrong)} of another kind"
    if wrong:
        return f"not {connector.files} files: {', '.join(wrong)}", line
    if len(right) < needed:
        return f"only {len(right)} {connector.files} files were seen, {needed} are needed as proof", line
    return None, line
