"""Builds HDF5's programs of testpar from the source archive, against our parallel build of HDF5."""

import fcntl
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.connector import hdf5_archive

HERE = Path(__file__).resolve().parent
RECIPE = 1  # raise this when the code below, or a file beside it, changes the result of the build
# Programs with a list of tests that can be run one by one, and programs that always run all tests.
LISTED = ("testphdf5", "t_shapesame")
WHOLE = ("t_pread", "t_pflush1", "t_pflush2", "t_select_io_dset", "t_filters_parallel", "t_pmulti_dset")
FLAGS = ["-std=gnu11", "-g1", "-O1", "-w", "-Werror=implicit-function-declaration", "-D_GNU_SOURCE", "-DNDEBUG",
         "-DH5_TEST_EXPRESS_LEVEL_DEFAULT=3"]


def tests(folder, program):
    """Returns the tests of a program in order, without those that it adds only for more or fewer processes than
    four."""
    text = (folder / f"{program}.c").read_text()
    return re.findall(r'AddTest\((?:\(mpi_size < \d\) \? "-\w+" : )?"([^"]+)"', text)


def compile_all(source, prefix, folder):
    test, par = source / "test", source / "testpar"
    mpicc = os.environ.get("MPICC", "mpicc")
    (test / "H5srcdir_str.h").write_text('#define config_srcdir "."\n')
    listed = re.search(r"set \(testphdf5_SOURCES(.*?)\)", (par / "CMakeLists.txt").read_text(), re.S)[1]
    sources = {program: [par / f"{program}.c"] for program in (*LISTED, *WHOLE)}
    sources["testphdf5"] = [par / name for name in re.findall(r"(\w+\.c)\b", listed)]
    library = [test / "h5test.c", test / "testframe.c", HERE / "native.c"]

    def one(file):
        renamed = ["-Dh5_using_native_vol=h5_asked_native_vol"] if file.name == "h5test.c" else []
        folders = [prefix / "include", source / "src", source / "src" / "H5FDsubfiling", test, par]
        subprocess.run([mpicc, *FLAGS, *renamed, *(f"-I{place}" for place in folders), "-c", file,
                        "-o", folder / f"{file.name}.o"], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, [*library, *(file for files in sources.values() for file in files)]))
    for program, files in sources.items():
        objects = [folder / f"{file.name}.o" for file in (*files, *library)]
        subprocess.run([mpicc, *objects, "-o", folder / program, f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib",
                        "-lhdf5", "-lm"], check=True)
    for file in folder.glob("*.o"):
        file.unlink()
    for program in LISTED:
        (folder / f"{program}.c").write_bytes((par / f"{program}.c").read_bytes())
    (folder / "COPYING").write_bytes((source / "COPYING").read_bytes())


def built(prefix):
    """Returns the folder that holds the programs, built now if necessary; None without a source."""
    done = prefix.with_name(f"testpar-{prefix.name}-r{RECIPE}")
    if done.exists():
        return done
    with open(done.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return done
        packed = hdf5_archive(prefix)
        if packed is None:
            return None
        with tempfile.TemporaryDirectory(dir=done.parent, prefix="building-testpar.") as work:
            source, made = Path(work, "source"), Path(work, "made")
            source.mkdir()
            made.mkdir()
            subprocess.run(["tar", "-xf", packed, "-C", source, "--strip-components=1"], check=True)
            compile_all(source, prefix, made)
            made.rename(done)  # the build is complete, and becomes visible
    return done
