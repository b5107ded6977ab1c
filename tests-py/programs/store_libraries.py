"""Programs with files in stores that other developers made: libraries with the C interface of store-abi."""
# only: h5lake
# store: any

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from cases import deleting, main

SOURCES = Path(__file__).resolve().parents[2] / "store-abi"
WRITE = """
import h5py, numpy as np
with h5py.File('x.h5', 'w') as f:
    x = f.create_dataset('x', (1000, 100), 'f8', chunks=(100, 100), compression='gzip')
    x[:] = np.arange(1e5).reshape(1000, 100)
    f['large'] = np.arange(3 << 20, dtype='i8')          # longer than what is kept in memory of a stream
    f['x'].attrs['unit'] = 'm'
print('done')"""
READ = """
import h5py
with h5py.File('x.h5') as f:
    print(f['x'][3:5, 7].tolist(), int(f['large'][-1]), f['x'].attrs['unit'])"""
SEEN = "[307.0, 407.0] 3145727 m"
MAPPED = """
import re
def libhdf5():
    mapped = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line)}
    return next(path for path in mapped if "_hl" not in path)
"""


def library(source):
    """Compiles a library of store-abi in the working folder, and returns its path."""
    file = Path(source).with_suffix(".so").name
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-O1", "-shared", "-fPIC", "-pthread",
                    f"-I{SOURCES}/include", SOURCES / source, "-ldl", "-o", file], check=True)
    return str(Path(file).resolve())


def run(code, connector, **variables):
    """Runs a program and returns its output and error."""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": connector, **variables}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode >= 0, (done.returncode, done.stderr)
    return done.stdout.strip(), done.stderr


def check_program_in_a_library(folder):
    there = {"H5LAKE_STORE_PATH": library("examples/log_store.c")}
    store = f"h5lake store=logfile://{folder}/x.log"
    for connector in (store, f"{store}/sub/folder", f"{store} sync=commit"):
        out, err = run(WRITE, connector, **there, H5LAKE_REPLACE="any")
        assert out == "done", err
        for name in ("h5lake", connector):
            out, err = run(READ, name, **there)
            assert out == SEEN, (name, out, err)
    # Its URL opens it, and an old version.
    code = """
import h5py
with h5py.File('URL', 'a') as f:
    f['new'] = 1
print(len(h5py.File('URL')), 'new' in h5py.File('URL@v=1'))"""
    out, err = run(code.replace("URL", f"logfile://{folder}/x.log/x.h5"), "h5lake", **there)
    assert out == "3 False", (out, err)
    out, err = run(deleting("x.h5"), store, **there)
    assert out == "0" and not Path("x.h5").exists(), err


# As static objects of C++, which are destroyed before libhdf5 closes the files that a program left open.
ENDING = """
static int is_over;
static void end(void) { is_over = 1; }
__attribute__((constructor)) static void begin(void) { atexit(end); }
"""
ENTERS = "static int32_t enter(const store *s, const h5lake_store_call *call, int writes, view *v)\n{\n"


def check_a_file_that_is_left_open_is_closed_before_the_library_ends(folder):
    source = (SOURCES / "examples/log_store.c").read_text()
    assert ENTERS in source
    Path("ending.c").write_text(source.replace(ENTERS, f"{ENDING}{ENTERS}    if (is_over)\n        abort();\n"))
    there = {"H5LAKE_STORE_PATH": library(Path("ending.c").resolve())}
    code = """
import h5py, numpy as np
f = h5py.File('x.h5', 'w')
f['x'] = np.arange(1000)
h5py.h5i.inc_ref(f.id)
h5py.h5i.inc_ref(f['x'].id)
print('done')"""
    connector = f"h5lake store=logfile://{folder}/x.log"
    out, err = run(code, connector, **there)
    assert (out, err) == ("done", ""), (out, err)
    out, err = run("import h5py; print(h5py.File('x.h5')['x'][999])", connector, **there)
    assert out == "999", err


def check_setting_names_libraries(folder):
    path = library("examples/log_store.c")
    store = f"store=logfile://{folder}/x.log"
    out, err = run(WRITE, f"h5lake {store} store_path={path}")
    assert out == "done", err
    out, err = run(READ, f"h5lake store_path={folder}")
    assert out == SEEN, err
    # Without the library, the error says which variable names one.
    out, err = run(READ, "h5lake")
    assert not out and "'logfile'" in err and "H5LAKE_STORE_PATH" in err, err
    out, err = run(READ, f"h5lake {store} store_path={folder}/missing.so")
    assert not out and "missing.so" in err, err
    out, err = run(READ, f"h5lake {store} store_path=relative.so")
    assert not out and "absolute paths" in err, err


def check_store_that_ends_with_the_process(folder):
    """No pointer file is left, because no other process could follow it."""
    out, err = run(WRITE + READ, "h5lake store=heap:x", H5LAKE_STORE_PATH=library("examples/heap_store.c"))
    assert out == f"done\n{SEEN}" and not Path("x.h5").exists(), (out, err)


def check_several_writers(folder):
    there = {"H5LAKE_STORE_PATH": library("examples/log_store.c"), "H5LAKE_REPLACE": "any"}
    connector = f"h5lake writers=many store=logfile://{folder}/x.log"
    out, err = run("import h5py\nh5py.File('x.h5', 'w').close()\nprint('made')", connector, **there)
    assert out == "made", err
    code = """
import h5py, sys
with h5py.File('x.h5', 'a') as f:
    for n in range(20):
        f[f'of {sys.argv[1]}/{n}'] = n
        f.flush()
print('done')"""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": connector, **there}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for n in range(4)]
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert out.strip() == "done", err
    out, err = run("import h5py\nf = h5py.File('x.h5')\nprint([len(f[name]) for name in f])", connector, **there)
    assert out == "[20, 20, 20, 20]", (out, err)


def check_forked_child_opens_its_own(folder):
    there = {"H5LAKE_STORE_PATH": library("examples/log_store.c")}
    code = """
import h5py, os
f = h5py.File('x.h5', 'w')
f['x'] = [1, 2, 3]
f.flush()
child = os.fork()
if child == 0:
    seen = h5py.File('x.h5', 'r')['x'][:].tolist()
    with h5py.File('other.h5', 'w') as g:
        g['x'] = seen
    os._exit(0 if seen == [1, 2, 3] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
f['y'] = 4
f.close()
print(sorted(h5py.File('x.h5')), h5py.File('other.h5')['x'][:].tolist())"""
    out, err = run(code, f"h5lake store=logfile://{folder}/x.log", **there)
    assert out == "0\n['x', 'y'] [1, 2, 3]", (out, err)


def check_library_that_breaks_a_rule(folder):
    there = {"H5LAKE_STORE_PATH": library("tests/faulty_store.c")}
    for fault, words in (("few-bytes", "are missing"), ("other-key", "answered with"), ("small-object", "of 16 bytes"),
                         ("code-99", "0x63"), ("no-opened", "gave none"), ("late", "can be trusted")):
        out, err = run(WRITE + READ, f"h5lake store=faulty:{fault}/x", **there)
        assert SEEN not in out and "Error" in err, (fault, out, err)
        assert "faulty_store" in err and "breaks its interface" in err and words in err, (fault, err)
    # A single writer needs no conditional writes; several writers do.
    out, err = run(WRITE + READ, "h5lake store=faulty:ignores-creates/x", **there)
    assert out == f"done\n{SEEN}", err
    out, err = run(WRITE, "h5lake writers=many store=faulty:ignores-creates/x", **there)
    assert not out and "promises it, and lets several racing writes win" in err, err
    # The connector works without features that the store does not promise: no ranges, no order.
    out, err = run(WRITE + READ, "h5lake store=faulty:unordered/x", **there)
    assert out == f"done\n{SEEN}", err
    out, err = run(WRITE + READ, "h5lake store=faulty:flaky/x", **there)
    assert out == f"done\n{SEEN}", err


def check_library_that_calls_hdf5(folder):
    """The library gets an error, and does not wait for a lock that its own caller holds."""
    there = {"H5LAKE_STORE_PATH": library("tests/calls_hdf5.c"), "RUDE_FILE": str(folder / "other.h5")}
    code = MAPPED + """
import h5py, os
h5py.h5.get_libversion()
os.environ['RUDE_HDF5'] = libhdf5()
with h5py.File('rude://x/a.h5', 'w') as f:
    f['x'] = 1
print(h5py.File('rude://x/a.h5')['x'][()], flush=True)"""
    with_file = run("import h5py\nh5py.File('other.h5', 'w').close()", "h5lake")
    assert (folder / "other.h5").exists(), with_file
    out, err = run(code, "h5lake", **there)
    assert "opened 0" in out and "opened 1" not in out and re.search(r"^1$", out, re.M), (out, err)


if __name__ == "__main__":
    main(globals())
