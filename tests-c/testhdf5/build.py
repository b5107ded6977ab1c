"""Builds HDF5's testhdf5 from the source archive, against our build of HDF5, with its test functions announced."""

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.connector import hdf5_archive

HERE = Path(__file__).resolve().parent
RECIPE = 3  # raise this when the code below, or a file beside it, changes the result of the build
OWN = "announce.c"
FLAGS = ["-std=gnu11", "-g1", "-O1", "-w", "-Werror=implicit-function-declaration", "-D_GNU_SOURCE", "-DNDEBUG",
         "-DH5_TEST_EXPRESS_LEVEL_DEFAULT=3"]


def announced(text):
    """Returns a source in which each call of one of its own `void test_…()` functions is announced."""
    own = set(re.findall(r"^(?:static\s+)?void\s+(test_\w+)\(", text, re.M))
    if not own:
        return text
    call = re.compile(r"^([ \t]+)(%s)(\((?:[^;{}]*)\));" % "|".join(sorted(own, key=len, reverse=True)), re.M)
    return call.sub(r"\1ANNOUNCED(\2, \2\3);", text)


def groups(sources):
    """Returns the groups that testhdf5.c registers: {group: its function}."""
    return dict(re.findall(r'AddTest\("(\w+)", (\w+),', (sources / "testhdf5.c").read_text()))


def functions(folder):
    """Returns the test functions that are announced."""
    return (folder / "functions").read_text().split()


def compile_all(source, prefix, folder):
    test = source / "test"
    names = re.search(r"set \(testhdf5_SOURCES(.*?)\)", (test / "CMakeLists.txt").read_text(), re.S)[1]
    names = re.findall(r"(\w+\.c)\b", names)
    shutil.copy(HERE / OWN, test)
    own = {n for name in names for n in re.findall(r"^(?:static\s+)?void\s+(test_\w+)\(", (test / name).read_text(), re.M)}
    (folder / "functions").write_text("\n".join(sorted(own)) + "\n")
    cc = shlex.split(os.environ.get("CC", "cc"))

    def one(name):
        if name != OWN:
            (test / name).write_text(announced((test / name).read_text()))
        subprocess.run([*cc, *FLAGS, "-include", HERE / "announce.h", f"-I{prefix}/include", f"-I{source}/src", f"-I{test}",
                        f"-I{source}/src/H5FDsubfiling", "-c", test / name, "-o", folder / f"{name}.o"], check=True)
        return folder / f"{name}.o"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(one, [*names, OWN]))
    subprocess.run([*cc, *objects, "-o", folder / "testhdf5", f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lhdf5_test",
                    "-lhdf5", "-lm"], check=True)
    for file in objects:
        file.unlink()
    shutil.copytree(test / "testfiles", folder / "testfiles")
    shutil.copy(test / "testhdf5.c", folder)
    shutil.copy(source / "COPYING", folder)


def built(prefix):
    """Returns the folder that holds testhdf5, testhdf5.c and testfiles/, built now if necessary; None without a
    source."""
    done = prefix.with_name(f"testhdf5-{prefix.name}-r{RECIPE}")
    if done.exists():
        return done
    with open(done.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return done
        packed = hdf5_archive(prefix)
        if packed is None:
            return None
        with tempfile.TemporaryDirectory(dir=done.parent, prefix="building-testhdf5.") as work:
            source, made = Path(work, "source"), Path(work, "made")
            source.mkdir()
            made.mkdir()
            subprocess.run(["tar", "-xf", packed, "-C", source, "--strip-components=1"], check=True)
            compile_all(source, prefix, made)
            made.rename(done)  # the build is complete, and becomes visible
    return done
