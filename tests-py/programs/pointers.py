"""Clients that check the path before they call HDF5: without a pointer file they create with truncation, and must
not truncate the container in the store."""
# store: any
# only: h5lake
# requires: clients.txt

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

os.environ.pop("H5LAKE_REPLACE", None)

from cases import main

WRITE = "import h5py\nwith h5py.File(name, mode) as f: f['x'] = [1, 2, 3]"
READ = "import h5py\nwith h5py.File(name) as f: assert f['x'][:].tolist() == [1, 2, 3]"
BY_CLIENTS = {
    "netCDF4 a": "import netCDF4; netCDF4.Dataset(name, 'a').close()",
    "netCDF4 r+": "import netCDF4; netCDF4.Dataset(name, 'r+').close()",
    "netCDF4 w": "import netCDF4; netCDF4.Dataset(name, 'w').close()",
    "PyTables a": "import tables; tables.open_file(name, 'a').close()",
    "h5py w": "import h5py; h5py.File(name, 'w').close()",
}


def run(code, connector, folder, name="out.h5", mode="w", **variables):
    """Runs a program in a folder and returns its exit status, output and error."""
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "HDF5_VOL_CONNECTOR": connector, **variables}
    code = f"import json\nname, mode = json.loads({json.dumps(json.dumps([name, mode]))})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def done(*args, **more):
    code, out, err = run(*args, **more)
    assert code == 0, err
    return out


def check_a_local_container_stays_when_a_pointer_takes_its_place(folder):
    store, here = f"h5lake store=file://{folder}/objects", folder / "here"
    kept = lambda: sorted(path.name for path in here.glob(".out.h5.h5lake-replaced-*"))  # noqa: E731
    done(WRITE, "h5lake retention=1h", here)
    # A program that has the container open can continue, and a writer prevents the replacement.
    opened = subprocess.Popen(
        [sys.executable, "-c", "import h5py; f = h5py.File('out.h5', 'r+'); print('open', flush=True); input(); f.close()"],
        env={**os.environ, "HDF5_VOL_CONNECTOR": "h5lake"}, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True)
    try:
        assert opened.stdout.readline() == "open\n"
        status, _, err = run(BY_CLIENTS["h5py w"], store, here)
        assert status and "BlockingIOError" in err, err
    finally:
        opened.communicate("\n", timeout=60)
    done(READ, "h5lake", here)
    assert not kept() and not (folder / "objects" / "out.h5").exists()
    done(BY_CLIENTS["h5py w"], store, here)
    done("import h5py\nwith h5py.File(name) as f: assert not list(f)", "h5lake", here)
    [hidden] = kept()
    done(READ, "h5lake", here, name=hidden)
    # Without a retention time, no replaced container is kept.
    done(WRITE, "h5lake", here, name="other.h5")
    done(BY_CLIENTS["h5py w"], store, here, name="other.h5")
    assert not list(here.glob(".other.h5*"))


def check_what_has_no_pointer_is_not_replaced(folder):
    store = f"h5lake store=file://{folder}/objects"
    one, other = folder / "one", folder / "other"
    done(WRITE, store, one)
    for client, code in BY_CLIENTS.items():
        status, _, err = run(code, store, other)
        assert status, f"{client} replaced the container"
        assert not list(other.iterdir()), client
        done(READ, "h5lake", one)
    # The error lists the possible solutions, and each of them works.
    _, _, err = run(BY_CLIENTS["h5py w"], store, other)
    url = f"file://{folder}/objects/out.h5"
    for word in ("FileExistsError", url, f"h5lake link {url} out.h5", "replace=any"):
        assert word in err, (word, err)
    done(READ, "h5lake", other, name=url)
    done(WRITE, f"{store} replace=any", other)
    done(WRITE, store, other)
    assert (other / "out.h5").exists()


def check_a_url_and_a_pointer_replace(folder):
    store = f"h5lake store=file://{folder}/objects"
    done(WRITE, store, folder / "one")
    done(WRITE, store, folder / "one")
    done(WRITE, "h5lake", folder / "one")
    done(WRITE, "h5lake", folder / "other", name=f"file://{folder}/objects/out.h5")
    done(WRITE, store, folder / "other", name=f"file://{folder}/objects/out.h5")


def check_an_open_leaves_a_pointer(folder):
    store = f"h5lake store=file://{folder}/objects"
    done(WRITE, store, folder / "one")
    for n, code in enumerate((READ, "import h5py; h5py.File(name, 'r+').close()", "import h5py; h5py.File(name, 'a').close()")):
        other = folder / f"other{n}"
        done(code, store, other)
        assert (other / "out.h5").read_bytes() == (folder / "one" / "out.h5").read_bytes(), code
        done(READ, "h5lake", other)
        # netCDF4 changes no file that does not track creation order, but it now sees that the file exists.
        for client in ("netCDF4 a", "netCDF4 r+"):
            assert "Can't write file" in run(BY_CLIENTS[client], store, other)[2]
        done(BY_CLIENTS["PyTables a"], store, other)
        done(READ, "h5lake", other)
    # An open never creates a folder, and never fails because a folder is missing.
    (folder / "one" / "in").mkdir()
    done(WRITE, store, folder / "one", name="in/out.h5")
    done(READ, store, folder / "far", name="in/out.h5")
    assert not list((folder / "far").iterdir())


def check_what_is_opened_by_a_file_leaves_none(folder):
    store = f"h5lake store=file://{folder}/objects"
    done(WRITE, store, folder / "one", name="target.h5")
    done("import h5py\nwith h5py.File(name, 'w') as f: f['l'] = h5py.ExternalLink('target.h5', '/x')", store, folder / "one")
    done("import h5py; assert h5py.File(name)['l'][0] == 1", store, folder / "other")
    assert [p.name for p in (folder / "other").iterdir()] == ["out.h5"]


def check_what_is_kept_in_memory_has_no_pointers(folder):
    done(f"{WRITE}\n{WRITE}\n{READ}", "h5lake store=memory:m", folder / "one")
    assert not list((folder / "one").iterdir())


def check_an_old_version_leaves_none(folder):
    store = f"h5lake store=file://{folder}/objects"
    done(WRITE, store, folder / "one")
    done("import h5py; h5py.File(name + '@v=1').close()", store, folder / "other")
    assert not list((folder / "other").iterdir())


def check_what_is_no_regular_file_stays(folder):
    """A pipe does not block a program, and no mode replaces a pipe or a socket. A device would need root, and is
    handled in the same way."""
    store, here = f"h5lake store=file://{folder}/objects", folder / "here"
    here.mkdir()
    os.chdir(here)  # the name of a socket is short
    os.mkfifo("pipe")
    Path("to-pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        for name in ("pipe", "to-pipe", "socket"):
            for connector in (store, "h5lake"):
                for mode in ("w", "a", "r"):
                    status, _, err = run(WRITE, connector, here, name=name, mode=mode)
                    assert status > 0 and "Error" in err, (name, connector, mode, err)
                    if (connector, mode) == (store, "w"):
                        assert "no regular file but a " in err and "FileExistsError" in err, err
            assert not Path(name).is_file(), name
        assert sorted(os.listdir()) == ["pipe", "socket", "to-pipe"], os.listdir()


def check_symbolic_links_are_followed(folder):
    store, here, objects = f"h5lake store=file://{folder}/objects", folder / "here", folder / "objects"
    here.mkdir()
    (here / "link.h5").symlink_to("end.h5")
    for _ in range(2):
        done(WRITE, store, here, name="link.h5")
        assert (here / "link.h5").is_symlink() and not (here / "end.h5").is_symlink()
        for name in ("link.h5", "end.h5"):
            done(READ, "h5lake", here, name=name)
    # Creating a new file reports the link, and an open leaves no file at the link's target.
    done(WRITE, store, folder / "one", name="other.h5")
    (here / "other.h5").symlink_to("none.h5")
    status, _, err = run(WRITE, store, here, name="other.h5", mode="x")
    assert status and "FileExistsError" in err, err
    done(READ, store, here, name="other.h5")
    assert not (here / "none.h5").exists()
    (here / "loop.h5").symlink_to("loop.h5")
    status, _, err = run(WRITE, store, here, name="loop.h5")
    assert status and "Errno 40" in err and (here / "loop.h5").is_symlink(), err
    assert not (objects / "loop.h5").exists()
    # A link to the path of the container itself gets no pointer file, which would replace the container.
    (here / "inside.h5").symlink_to(objects / "inside.h5")
    for connector, name in ((store, "inside.h5"), ("h5lake", f"file://{objects}/inside.h5")):
        done(WRITE, store, here, name="inside.h5")
        done(READ, connector, here, name=name)


def check_names_with_two_dots(folder):
    store = f"h5lake store=file://{folder}/objects"
    for mode in ("w", "r", "a"):
        status, _, err = run(WRITE, store, folder / "one", name="../x.h5", mode=mode)
        assert status and "outside the root" in err and "H5LAKE_ROOT" in err, err
    done(WRITE, store, folder / "one", name="../one/./x.h5")
    assert not Path("x.h5").exists() and Path("one/x.h5").exists() and (folder / "objects" / "x.h5").exists()
    # If the system and a client with absolute names would resolve a path to different folders, the open fails.
    (folder / "link").symlink_to("objects")
    status, _, err = run(WRITE, store, folder / "one", name="../link/../one/y.h5", H5LAKE_ROOT=str(folder))
    assert status and "symbolic link" in err and "without '..'" in err, err


main(globals())
