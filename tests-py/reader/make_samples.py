"""Makes the samples that every later build reads: containers of today's format, with their expected content. Run
with the plugin:

    HDF5_VOL_CONNECTOR=h5lake HDF5_PLUGIN_PATH=target/plugin PYTHON tests-py/reader/make_samples.py TOOL NAME...

Existing samples are never changed or made again: a new format gets a new name."""

import os
import pprint
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "programs")]
import compared  # noqa: E402
import h5py  # noqa: E402
import independent_reader as program  # noqa: E402
import ledger  # noqa: E402
import numpy as np  # noqa: E402
import reader_references  # noqa: E402

NAME = "x.h5"
SERVER = HERE.parents[1] / "object-stores/examples/store_server.py"


def small(f):
    """Writes a little of everything."""
    program.types(f)
    for name in ["texts", "rows"]:
        del f[f"types/{name}"]
    f["types"].create_dataset("rows", data=program.rows(3))
    data = np.arange(1200, dtype="<i2").reshape(40, 30)
    f["contiguous"] = data
    f.create_dataset("filtered", data=data, chunks=(16, 16), compression="gzip", shuffle=True, fletcher32=True, maxshape=(None, 30))
    f["soft"], f["hard"], f["beyond"] = h5py.SoftLink("/filtered"), f["contiguous"], h5py.ExternalLink("other.h5", "/x")
    f.attrs["texts"], f.attrs["to"], f.attrs["number"] = ["a", "", "ü" * 9], f["contiguous"].ref, 7.5
    f["group/in/group"] = ["one", "two"]
    f["filtered"].attrs["part"] = f["filtered"].regionref[2:5]


def edit(f, turns=6):
    for n in range(turns):
        f.attrs["n"] = n
        f["contiguous"][n, 3:9] = -n
        f["filtered"].resize(41 + n, axis=0)
        f["filtered"][40 + n] = n
        f["group/in/group"][0] = f"changed {n}" * n
        f.flush()


def closed(_):
    with h5py.File(NAME, "w") as f:
        small(f)
    with h5py.File(NAME, "r+") as f:
        edit(f)


def unclosed(_):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    f = h5py.File(NAME, "w")
    small(f)
    edit(f)
    f.attrs["lost"] = "never flushed"
    os._exit(0)


def based(tool):
    """A container with pages, a history, and a log after them."""
    for turn in range(3):
        closed(tool) if not turn else None
        with h5py.File(NAME, "r+") as f:
            edit(f, 2 + turn)
        subprocess.run([tool, "vacuum", NAME], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(NAME, "r+") as f:
        edit(f, 2)


def block(_):
    with h5py.File(NAME, "w", userblock_size=512) as f:
        small(f)


def many(_):
    """Written by two processes at once, each with a group of its own."""
    with h5py.File(NAME, "a") as f:
        small(f)
    code = "import make_samples as m; m.one_of_many({})"
    env = {**os.environ, "H5LAKE_WRITERS": "many", "PYTHONPATH": str(HERE)}
    writers = [subprocess.Popen([sys.executable, "-c", code.format(n), "", ""], env=env) for n in range(2)]
    assert [w.wait() for w in writers] == [0, 0]


def one_of_many(which):
    with h5py.File(NAME, "r+") as f:
        for n in range(4):
            f.create_dataset(f"writer{which}/{n}", data=[f"{which} {n}"] * (n + 1))
            f.flush()


def grouped(tool):
    """Written by eight processes that commit together, in a store of another process: only remote stores group
    commits."""
    with tempfile.TemporaryDirectory() as folder:
        database, at = f"{folder}/objects.db", f"{folder}/x.sock"
        server = subprocess.Popen([sys.executable, SERVER, database, "--socket", at], stdout=subprocess.PIPE)
        try:
            assert server.stdout.readline()
            env = {**os.environ, "H5LAKE_STORE": f"h5store+unix://{at}/", "H5LAKE_WRITERS": "many", "PYTHONPATH": str(HERE)}
            python = [sys.executable, "-c"]
            subprocess.run([*python, "import make_samples as m; m.begin_group()"], env=env, check=True)
            code = "import make_samples as m; m.one_of_group({})"
            writers = [subprocess.Popen([*python, code.format(n)], env=env) for n in range(8)]
            assert [w.wait() for w in writers] == [0] * 8
        finally:
            server.kill()
            server.wait()
        for key, data in sqlite3.connect(database).execute("SELECT key, bytes FROM objects"):
            path = Path("objects") / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    records = ledger.open_ledger(f"file://{os.getcwd()}/objects/{NAME}").writers()
    assert any(len(commits) > 1 for commits in records), "no commits went together"
    (Path("objects") / ".object-store").mkdir(exist_ok=True)
    Path(NAME).unlink()
    subprocess.run([tool, "link", f"file://{os.getcwd()}/objects/{NAME}", NAME], check=True)


def begin_group():
    with h5py.File(NAME, "w") as f:
        small(f)
        f.create_dataset("parts", (80, 10), "i4", chunks=(10, 10), compression="gzip")
        for n in range(8):
            f.create_group(f"writer{n}").attrs["turn"] = 0


def one_of_group(which):
    with h5py.File(NAME, "r+") as f:
        for n in range(6):
            f["parts"][10 * which:10 * which + 10] = 100 * which + n
            f[f"writer{which}"].attrs["turn"] = n
            f.flush()


def references(_):
    """New references of every kind, in every place."""
    with h5py.File(NAME, "w") as f:
        reader_references.fill(f)


def tagged(tool):
    """Tagged versions: the newest one, and one that only its tag retains."""
    with h5py.File(NAME, "w") as f:
        small(f)
    subprocess.run([tool, "tag", NAME, "first"], check=True)
    with h5py.File(NAME, "r+") as f:
        f.attrs["later"] = np.arange(5000)
        f.flush()
        del f.attrs["later"]
    subprocess.run([tool, "vacuum", NAME], check=True)
    subprocess.run([tool, "tag", NAME, "last"], check=True)


def copied(tool):
    """A copy that was updated once."""
    in_directory = "H5LAKE_STORE" in os.environ
    target = f"file://{os.getcwd()}/objects/{NAME}" if in_directory else NAME
    with tempfile.TemporaryDirectory() as folder:
        source = f"file://{folder}/source.h5"
        for turn in range(2):
            with h5py.File(source, "r+" if turn else "w") as f:
                edit(f) if turn else small(f)
                # A payload, and a part of it that is moved.
                f.require_dataset("long", (20_000,), "<i4")[5000 * turn:10_000] = np.arange(10_000)[5000 * turn:] * (turn + 1)
            subprocess.run([tool, "copy", "--quiet", "--update", source, target], check=True)
    if in_directory:
        subprocess.run([tool, "link", target, NAME], check=True)


def branched(tool):
    """A branch from a version that the main line has left behind."""
    with h5py.File(NAME, "w") as f:
        small(f)
        f["gone"], f["long"] = 1, np.arange(20_000)
    subprocess.run([tool, "branch", NAME, "fix"], check=True)
    with h5py.File(NAME, "r+") as f:
        edit(f)
        f["long"][...] = -1
    with h5py.File(f"{NAME}@branch=fix", "r+") as f:
        f["filtered"][3, :5] = -3
        f["long"][5000:5010] = 7
        f["new/group"] = ["three", "four"]
        f["group/in/group"][1] = "changed in the branch"
        f["long"].attrs["of"] = "the branch"
        del f["gone"], f.attrs["number"]
    subprocess.run([tool, "vacuum", NAME], check=True, stdout=subprocess.DEVNULL)


def statistics(_):
    """Statistics of chunks: of every type of numbers, at edges, widened by partial writes, and chunks without any."""
    with h5py.File(NAME, "w") as f:
        for name in ["i1", "u1", "<i2", ">i4", "<i8", ">u8", "<f2", ">f4", "<f8"]:
            data = np.sort(np.frombuffer(bytes(n * 7 % 251 for n in range(600 * int(name[-1]))), name)).reshape(30, 20)
            f.create_dataset(name.strip("<>"), data=data, chunks=(8, 8), maxshape=(None, None), compression="gzip")
        f.create_dataset("bool", data=np.arange(300) > 200, chunks=(100,))
        f.create_dataset("large", data=np.arange(7000.0), chunks=(3000,), maxshape=(None,))
        f.create_dataset("nan", data=np.full(20, np.nan), chunks=(20,))
        f.create_dataset("fill", (50,), "f8", chunks=(20,), fillvalue=2.5)[3:5] = 7
        f.create_dataset("direct", data=np.arange(20.0), chunks=(20,)).id.write_direct_chunk((0,), bytes(160))
        f.create_dataset("rows", data=np.zeros(30, [("a", "i4"), ("b", "f8")]), chunks=(10,))
    with h5py.File(NAME, "r+") as f:
        f["large"][5:9] = -1
        f["i8"].resize((33, 27))
        f["large"].resize((7500,))


def adopted(tool):
    """References to a native file, and changes over them. A store cannot keep a native file beside the container, so
    there all data is copied again, and the feature bit stays set."""
    in_directory = "H5LAKE_STORE" in os.environ
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder if in_directory else ".") / "native.h5"
        code = "import sys; sys.argv[1:] = []; import h5py, make_samples as m\nwith h5py.File({!r}, 'w') as f: m.native(f)"
        env = {key: value for key, value in os.environ.items() if not key.startswith("H5LAKE_")}
        native = {**env, "HDF5_VOL_CONNECTOR": "native", "PYTHONPATH": str(HERE)}
        subprocess.run([sys.executable, "-c", code.format(str(source))], env=native, check=True)
        os.utime(source, (compared.SOURCE_TIME, compared.SOURCE_TIME))
        target = f"file://{os.getcwd()}/objects/{NAME}" if in_directory else NAME
        more = ["--checksums"] if Path.cwd().name.endswith("checksums") else []
        subprocess.run([tool, "adopt", *more, source, target], env=env, check=True)
        if in_directory:
            subprocess.run([tool, "materialize", target], env=env, check=True)
            subprocess.run([tool, "link", target, NAME], env=env, check=True)
    with h5py.File(NAME, "r+") as f:
        f["line"][300:310] = -1
        f["chunks"][0, :5] = -2
        f.attrs["later"] = "written"


def native(f):
    data = np.arange(12_000, dtype="<i4").reshape(60, 200)
    f.create_dataset("chunks", data=data, chunks=(16, 64), compression="gzip", shuffle=True, maxshape=(None, 200))
    f.create_dataset("plain", data=data[:5], chunks=(2, 200), fillvalue=9)
    f["line"], f["big-endian"] = np.arange(5000.0), np.arange(300, dtype=">i2")
    f["texts"], f.attrs["title"] = ["a", "", "ü" * 9], "native"
    f["group/soft"] = h5py.SoftLink("/line")


SAMPLES = {"adopted": adopted, "adopted-checksums": adopted, "branched": branched, "statistics": statistics, "closed": closed, "tagged": tagged, "copied": copied, "unclosed": unclosed, "based": based, "block": block,
           "many": many, "grouped": grouped, "references": references}


def make(tool, name):
    """Makes one sample. Names that begin with dir- are samples in a directory of objects."""
    place = HERE / "samples" / name
    in_directory = name.startswith("dir-")
    if place.exists() and "H5LAKE_STORE" not in os.environ:
        print(f"{name} is there, and stays")
        return
    place.mkdir(parents=True, exist_ok=True)
    if in_directory and "H5LAKE_STORE" not in os.environ:
        # The setting is read when the library starts.
        env = {**os.environ, "H5LAKE_STORE": f"file://{place}/objects"}
        subprocess.run([sys.executable, __file__, tool, name], env=env, check=True, cwd=place)
        return
    os.chdir(place)
    SAMPLES[name.removeprefix("dir-")](tool)
    with h5py.File(NAME, "r") as f:
        expected = compared.by_h5py(f)
    compared.agree(compared.by_reader(NAME), expected)
    if name.endswith("branched"):
        with h5py.File(f"{NAME}@branch=fix", "r") as f:
            of_branch = compared.by_h5py(f)
        compared.agree(compared.by_reader(NAME, branch=b"fix"), of_branch)
        write(place / "expected-branch.txt", of_branch)
    if in_directory:
        (place / NAME).unlink()
        for own in [*place.rglob(".object-store")]:
            shutil.rmtree(own)
    write(place / "expected.txt", expected)


def write(path, expected):
    path.write_text(pprint.pformat(expected, width=150, compact=True) + "\n")


if __name__ == "__main__":
    for sample in sys.argv[2:]:
        make(sys.argv[1], sample)
