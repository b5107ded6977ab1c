"""A container in a store as a program sees it: the pointer file at its path, and errors that say what is missing."""
# store: any
# only: h5lake

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cases import deleting, main

SECRET = "very-s3cr3t-indeed"
WRITE = "import h5py\nwith h5py.File('x.h5', 'w') as f: f['x'] = [1, 2, 3]\nprint('done')"
READ = "import h5py\nprint(h5py.File('x.h5')['x'][:].tolist())"


def run(code, connector, **variables):
    """Runs a program with some variables removed (None) or set. Returns its output, error and seconds."""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": connector, **variables}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env={k: v for k, v in env.items() if v is not None},
                          capture_output=True, text=True, timeout=60)
    return done.stdout.strip(), done.stderr, time.monotonic() - begun


def objects(folder):
    """Returns the objects of a store in a directory."""
    return [p for p in (Path(folder) / "objects").rglob("*") if p.is_file() and ".object-store" not in p.parts]


def check_pointer(folder):
    store = f"h5lake store=file://{folder}/objects"
    out, err, _ = run(WRITE, store)
    assert out == "done", err
    pointer = Path("x.h5").read_bytes()
    assert pointer.startswith(b"\x89HDF\r\n\x1a\n") and len(pointer) < 1000 and objects(folder), pointer
    # A program without the setting of the store finds the container by its pointer file.
    for connector in (store, "h5lake"):
        out, err, _ = run(READ, connector)
        assert out == "[1, 2, 3]", (connector, err)
    out, err, _ = run(deleting("x.h5"), store)
    assert out == "0", (out, err)
    assert not Path("x.h5").exists()
    # The head object stays, and says that there is no container.
    listed = subprocess.run([os.environ["TOOL"], "ls", f"file://{folder}/objects"], capture_output=True, text=True, check=True)
    assert not listed.stdout, listed.stdout
    # The content is retained for the retention time, but its name does not lead to it.
    assert any("replaced" in path.parts for path in objects(folder)), objects(folder)
    assert not run(READ, store)[0]


def check_pointer_without_its_container(folder):
    store = f"h5lake store=file://{folder}/objects"
    assert run(WRITE, store)[0] == "done"
    for path in objects(folder):
        path.unlink()
    for connector in (store, "h5lake"):
        out, err, _ = run(READ, connector)
        assert not out and "OSError" in err.replace("FileNotFoundError", "OSError"), err
        assert f"{folder}/objects" in err and "x.h5" in err, err
    # Creating the container again repairs the name, in each mode that creates a file.
    for mode in "wax":
        for path in objects(folder):
            path.unlink()
        out, err, _ = run(WRITE.replace("'w'", f"'{mode}'"), store)
        assert out == "done", (mode, err)
        assert run(READ, "h5lake")[0] == "[1, 2, 3]"
    out, err, _ = run(WRITE.replace("'w'", "'x'"), store)
    assert not out and "exists" in err, err


def check_a_program_in_the_directory_of_its_store(folder):
    """In this directory the path is that of the container's head, and a pointer file would replace it."""
    store, beside = f"h5lake store=file://{folder}", f"h5lake store=file://{folder}/beside"
    for name in ("x.h5", "sub/x.h5", "./x.h5"):
        Path("sub").mkdir(exist_ok=True)
        write, read = (code.replace("x.h5", name) for code in (WRITE, READ))
        for _ in range(2):
            out, err, _ = run(write, store)
            assert out == "done", err
            assert run(read, store)[0] == "[1, 2, 3]"
        out, err, _ = run(write.replace("'w'", "'a'").replace("'x'", "'y'"), store)
        assert out == "done", err
        # Other files do not replace it either.
        for connector in (beside, "h5lake"):
            out, err, _ = run(write, connector)
            assert not out and "head of a container" in err, (connector, err)
        assert run(read, store)[0] == "[1, 2, 3]"
    Path("link.h5").symlink_to("x.h5")
    assert not run(WRITE.replace("x.h5", "link.h5"), beside)[0]
    assert run(READ, store)[0] == "[1, 2, 3]"
    # The root directory as a store.
    out, err, _ = run(WRITE.replace("x.h5", f"{folder}/y.h5"), "h5lake store=file:/// root=/")
    assert out == "done", err
    assert run(READ.replace("x.h5", f"{folder}/y.h5"), "h5lake store=file:/// root=/")[0] == "[1, 2, 3]"


def check_a_new_container_comes_where_it_was_asked_for(folder):
    one, other = (f"h5lake store=file://{folder}/{name}" for name in ("one", "other"))
    assert run(WRITE, one)[0] == "done"
    assert run(WRITE.replace("[1, 2, 3]", "[4]"), other)[0] == "done"
    assert run(READ, "h5lake")[0] == "[4]", "the pointer leads to the new one"
    out, err, _ = run(READ.replace("x.h5", f"file://{folder}/one/x.h5"), "h5lake")
    assert out == "[1, 2, 3]", ("the one in the other store is as it was", err)
    # The pointer file leads to the container, whatever the setting of the store. An invalid store is still reported.
    assert run(READ, one)[0] == "[4]"
    out, err, _ = run(READ, "h5lake store=nowhere://x")
    assert not out and "nowhere" in err, err


def refused(words, connector, **variables):
    """Checks that both ways of opening fail within seconds, say why, and show no secret."""
    for code in (WRITE, READ):
        out, err, seconds = run(code, connector, **variables)
        assert not out and "Error" in err and all(word in err for word in words), (out, err)
        assert SECRET not in err and "Signature=" not in err, err
        assert seconds < 15, seconds


def check_errors_of_s3(folder):
    none = {name: None for name in os.environ if name.startswith(("AWS_", "MINIO_"))}
    none.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_ALLOW_HTTP="true",
                AWS_EC2_METADATA_DISABLED="true")
    keys = dict(AWS_ACCESS_KEY_ID="somebody", AWS_SECRET_ACCESS_KEY=SECRET)
    nobody = dict(AWS_ENDPOINT_URL="http://127.0.0.1:9")
    refused(["no credentials"], "h5lake store=s3://lake/errors", **{**none, **nobody})
    refused(["cannot be reached"], "h5lake store=s3://lake/errors", **{**none, **nobody, **keys})
    half = {**none, **nobody, **keys, "AWS_SECRET_ACCESS_KEY": None}
    refused(["PermissionError", "key 'store'", "without AWS_SECRET_ACCESS_KEY"], "h5lake store=s3://lake/errors", **half)
    refused(["AWS_ALLOW_HTTP"], "h5lake store=s3://lake/errors", **{**none, **nobody, **keys, "AWS_ALLOW_HTTP": None})


def check_server(folder):
    """If the programs run on an S3 server: a missing bucket, a wrong key, and the variables of MinIO's example."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return
    refused(["FileNotFoundError", "no bucket 'not-there'", "made first", "key 'store'"],
            "h5lake store=s3://not-there/errors")
    wrong = dict(AWS_SECRET_ACCESS_KEY=SECRET)
    if "TAKES_ANY_KEY" not in os.environ:
        refused(["PermissionError", "AWS_SECRET_ACCESS_KEY", "key 'store'"], "h5lake store=s3://lake/errors", **wrong)
    minio = dict(MINIO_ADDRESS=endpoint.removeprefix("http://"), ACCESS_KEY=os.environ["AWS_ACCESS_KEY_ID"],
                 SECRET_KEY=os.environ["AWS_SECRET_ACCESS_KEY"], AWS_ENDPOINT_URL=None, AWS_ACCESS_KEY_ID=None,
                 AWS_SECRET_ACCESS_KEY=None)
    store = f"h5lake store=s3://lake/{Path(folder).name}-{os.getpid()}"
    assert run(WRITE, store, **minio)[0] == "done"
    assert run(READ, store)[0] == "[1, 2, 3]", "the same bucket by AWS's variables"


# Replaces flock as on a file system without locks.
NO_LOCKS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sys/file.h>
int flock(int fd, int how) { (void)fd, (void)how; errno = ENOLCK; return -1; }
"""
CHANGE = """import h5py, os
try:
    with h5py.File({name!r}, "r+") as f:
        print("opened")
        f.attrs["n"] = f.attrs.get("n", 0) + 1
        f.flush()
        print("flushed")
except (OSError, RuntimeError) as error:
    print("refused", error)
"""


def check_a_directory_without_locks(folder):
    """Opening for writing fails at once, unless HDF5_USE_FILE_LOCKING declares the program the only writer."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("skipped: there is no C compiler")
        return
    Path("no_locks.c").write_text(NO_LOCKS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "no_locks.so", "no_locks.c"], check=True)
    name, shim = f"file://{folder}/here/x.h5", f"{os.getcwd()}/no_locks.so"
    make = f"import h5py\nwith h5py.File({name!r}, 'w') as f: f['x'] = [1]\nprint('done')"
    assert run(make, "h5lake")[0] == "done"
    for variable, expected in ((None, "refused"), ("TRUE", "refused"), ("BEST_EFFORT", "flushed"), ("FALSE", "flushed")):
        out, err, _ = run(CHANGE.format(name=name), "h5lake", LD_PRELOAD=shim, HDF5_USE_FILE_LOCKING=variable)
        assert expected in out and ("opened" in out) == (expected == "flushed"), (variable, out, err)
        assert expected == "flushed" or ("no locks" in out and "HDF5_USE_FILE_LOCKING" in out), out
    for variable in (None, "BEST_EFFORT", "FALSE"):  # without locks one of two commits at the same time would be lost
        out, err, _ = run(CHANGE.format(name=name), "h5lake writers=many", LD_PRELOAD=shim, HDF5_USE_FILE_LOCKING=variable)
        assert "flushed" not in out and "no locks" in out and "several writers need locks" in out, (variable, out, err)
    out, err, _ = run(f"import h5py\nprint(h5py.File({name!r}).attrs['n'])", "h5lake", LD_PRELOAD=shim)
    assert out == "2", (out, err)
    left = list((Path(folder) / "here/.object-store/tmp").iterdir())
    assert not left, left


def check_links_among_a_directorys_own_files(folder):
    """Links in .object-store, from an archive or from another user, are not followed."""
    private = Path(folder) / "private"
    private.mkdir()
    for name in ("thesis.tex", "write-0123456789abcdef", "put-1"):
        (private / name).write_text("precious")
        os.utime(private / name, (1.7e9, 1.7e9))
    before = sorted(path.name for path in private.iterdir())
    for place in (".object-store", ".object-store/tmp", ".object-store/locks"):
        store = Path(folder) / place.replace("/", "-").strip(".")
        name = f"file://{store}/x.h5"
        make = f"import h5py\nwith h5py.File({name!r}, 'w') as f: f['x'] = [1]\nprint('done')"
        assert run(make, "h5lake")[0] == "done"
        shutil.rmtree(store / place)
        (store / place).symlink_to(private)
        out, err, _ = run(CHANGE.format(name=name), "h5lake")
        assert "flushed" not in out and "not supported" in out and "symbolic link" in out, (out, err)
        assert sorted(path.name for path in private.iterdir()) == before
        # The container can be read, and can be written again after the link is removed.
        assert run(f"import h5py\nprint(h5py.File({name!r})['x'][0])", "h5lake")[0] == "1"
        (store / place).unlink()
        out, err, _ = run(CHANGE.format(name=name), "h5lake")
        assert "flushed" in out, (out, err)


main(globals())
