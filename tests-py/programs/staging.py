"""Writes to stores that wait in a local folder (`stage=`). The data can be read at once, and reaches the store in
the order of the writes. After a kill, the next writer or `h5lake drain` uploads it."""
# store: any
# only: h5lake
# needs: tool

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from cases import main
from store_faults import Store

# Prints each step that it has done, and waits for a line of input before the next one.
STEPS = """
import h5py, numpy as np, sys
with h5py.File('x.h5', sys.argv[1] if len(sys.argv) > 1 else 'w') as f:
    f.require_dataset('n', (), 'i8')
    f.flush()
    print('made', flush=True)
    for n in range(int(f['n'][()]) + 1, 99):
        if input() != 'next':
            break
        f[f'x{n}'] = np.full(200_000, n)
        f[f'x{n}'].attrs['n'] = n
        if n > 2:
            del f[f'x{n - 2}']
        f['n'][()] = n
        f.flush()
        assert (f[f'x{n}'][:] == n).all()
        print('flushed', n, flush=True)
print('closed', flush=True)
"""
# Reads as a reader would: prints the number of the step, and checks that all data is that of this step.
LOOK = """
import h5py
with h5py.File('x.h5', 'r') as f:
    n = int(f['n'][()])
    assert sorted(f) == sorted(['n'] + [f'x{m}' for m in (n - 1, n) if m > 0]), list(f)
    for m in (n - 1, n):
        assert m < 1 or ((f[f'x{m}'][:] == m).all() and f[f'x{m}'].attrs['n'] == m), m
    print(n)
"""


class Held:
    """Holds back the requests that write data, except the first `passes` ones, until `let_go` is called."""

    def __init__(self, store, passes=0):
        self.store, self.passes, self.lock = store, passes, threading.Lock()
        self.opened, self.dropped, self.waiting = threading.Event(), False, 0
        store.fault = self.fault

    def fault(self, handler, _):
        is_data = handler.command == "POST" or re.search("/[0-9a-f]{16}-[0-9a-f]+$", handler.path) is not None
        is_data |= handler.command == "PUT" and handler.path.endswith("/x.h5")
        if handler.command not in ("PUT", "POST", "DELETE") or not is_data:
            return False
        with self.lock:
            self.passes -= 1
            if self.passes >= 0:
                return False
            self.waiting += 1
        self.opened.wait()
        handler.close_connection = self.dropped
        return self.dropped

    def let_go(self, drop=False):
        self.dropped = drop
        self.opened.set()
        self.store.fault = None


@contextlib.contextmanager
def places(folder):
    """Provides a store, and a folder for stages."""
    stage = Path(folder) / "stage"
    stage.mkdir(exist_ok=True)
    with Store() as store:
        yield store, stage


class Writer:
    """Runs the program STEPS, one step at a time."""

    def __init__(self, store, folder, *mode, **more):
        env = store.env(H5LAKE_TIMEOUT="60s", **more)
        self.process = subprocess.Popen([sys.executable, "-c", STEPS, *mode], env=env, cwd=folder, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.says("made")

    def says(self, wanted):
        said = self.process.stdout.readline().strip()
        assert said == wanted, (said, wanted, self.process.poll() is not None and self.process.stderr.read())

    def step(self, n):
        self.process.stdin.write("next\n")
        self.says(f"flushed {n}")

    def end(self):
        self.process.stdin.write("end\n")

    def close(self):
        self.end()
        self.says("closed")
        assert self.process.wait(60) == 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def look(store, folder, **more):
    """Returns the step that a reader sees."""
    code, out, err, _ = store.run(LOOK, folder, **more)
    assert code == 0, err
    return int(out)


def tool(store, folder, *arguments, code=0, **more):
    done = subprocess.run([os.environ["TOOL"], *map(str, arguments)], env=store.env(**more), cwd=folder, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout if code != 1 else done.stderr


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it does not come about"
        time.sleep(0.01)


def killed(store, folder, stage, steps=5, passes=0):
    """Kills a writer after some steps, when a part of them has reached the store. Returns the step that the store
    shows."""
    writer = Writer(store, folder, H5LAKE_STAGE=str(stage))
    wait_for(lambda: look(store, folder) == 0)
    held = Held(store, passes)
    for n in range(1, steps + 1):
        writer.step(n)
    wait_for(lambda: held.waiting > 0)
    writer.kill()
    held.let_go(drop=True)
    assert list(stage.iterdir()), "all had arrived"
    return look(store, folder)


def check_what_is_written_is_there(folder):
    """Everything arrives in each kind of store: data, changes, deletions and several files. The stage folder is
    empty afterwards."""
    stage = Path(folder) / "stage"
    connectors = [f"h5lake store=file://{folder}/objects"]
    if "store=s3:" in os.environ["HDF5_VOL_CONNECTOR"]:
        connectors.append(os.environ["HDF5_VOL_CONNECTOR"])
    write = """
import h5py, numpy as np
rows = np.random.default_rng(1).integers(0, 1 << 30, (3000, 1000), "i4")
with h5py.File("a.h5", "w") as f, h5py.File("b.h5", "w") as g:
    x = f.create_dataset("x", data=rows, chunks=(100, 1000), compression="gzip", shuffle=True)
    for n in range(100):
        f[f"g/{n}"] = [f"text {n}"] * 50
        g[f"d{n}"] = rows[n]
        if n % 10 == 0:
            f.flush()
            g.flush()
    assert (x[...] == rows).all() and (g["d7"][...] == rows[7]).all()
with h5py.File("a.h5", "r+") as f:
    f["x"][:1000] += 1
    del f["g/50"]
    f.attrs["done"] = True
"""
    check = """
import h5py, numpy as np
rows = np.random.default_rng(1).integers(0, 1 << 30, (3000, 1000), "i4")
with h5py.File("a.h5") as f, h5py.File("b.h5") as g:
    rows[:1000] += 1
    assert (f["x"][...] == rows).all() and f.attrs["done"] and sorted(map(int, f["g"])) == [n for n in range(100) if n != 50]
    rows[:1000] -= 1
    assert all((g[f"d{n}"][...] == rows[n]).all() for n in range(100))
print("whole")
"""
    for n, connector in enumerate(connectors):
        here = Path(folder) / f"at-{n}"
        here.mkdir()
        for more in ("", " sync=commit", " stage_size=1MiB"):
            env = {**os.environ, "HDF5_VOL_CONNECTOR": f"{connector} stage={stage} replace=any{more}"}
            env.pop("H5LAKE_REPLACE", None)
            done = subprocess.run([sys.executable, "-c", write], env=env, cwd=here, capture_output=True, text=True, timeout=170)
            assert done.returncode == 0, done.stderr
            assert not list(stage.iterdir()), more
            env["HDF5_VOL_CONNECTOR"] = connector
            done = subprocess.run([sys.executable, "-c", check], env=env, cwd=here, capture_output=True, text=True, timeout=170)
            assert done.stdout.strip() == "whole", done.stderr
            done = subprocess.run([os.environ["TOOL"], "verify", "a.h5", "b.h5"], env=env, cwd=here, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def check_a_flush_does_not_wait_for_the_store(folder):
    with places(folder) as (store, stage):
        writer = Writer(store, folder, H5LAKE_STAGE=str(stage))
        wait_for(lambda: look(store, folder) == 0)
        held = Held(store)
        before = len(store.objects)
        for n in range(1, 6):
            writer.step(n)
        assert len(store.objects) == before and list(stage.iterdir())
        assert look(store, folder) == 0, "nothing has arrived"
        assert "stage" in json.loads(tool(store, folder, "info", "--json", "x.h5"))
        # The close waits for the store.
        writer.end()
        time.sleep(0.5)
        assert writer.process.poll() is None
        held.let_go()
        writer.says("closed")
        assert writer.process.wait(60) == 0
        assert look(store, folder) == 5 and not list(stage.iterdir())
        assert "stage" not in json.loads(tool(store, folder, "info", "--json", "x.h5"))


def check_readers_see_whole_steps(folder):
    """While the store drains slowly, each reader sees the state of some flush."""
    with places(folder) as (store, stage):
        writer = Writer(store, folder, H5LAKE_STAGE=str(stage))
        wait_for(lambda: look(store, folder) == 0)
        store.fault = lambda handler, _: handler.command == "PUT" and time.sleep(0.1)
        for n in range(1, 21):
            writer.step(n)
        seen = [look(store, folder) for _ in range(4)]
        store.fault = None
        writer.close()
        assert seen == sorted(seen) and look(store, folder) == 20, seen


def check_a_killed_writer_loses_no_flush(folder):
    """Readers see the steps that have arrived, other writers get an error, and the tool uploads the remaining steps."""
    with places(folder) as (store, stage):
        arrived = killed(store, folder, stage, passes=4)
        assert arrived < 5
        info = json.loads(tool(store, folder, "info", "--json", "x.h5"))["stage"]
        assert info["folder"] == str(stage.resolve()) and info["writer_lives"] is False, info
        assert "h5lake drain" in tool(store, folder, "info", "x.h5")
        code, out, err, _ = store.run("import h5py; h5py.File('x.h5', 'r+')", folder)
        assert code and all(word in err for word in ("BlockingIOError", "h5lake drain", "h5lake unlock", "is the newest")), err
        shown = json.loads(tool(store, folder, "drain", "--dry-run", "--json", stage))
        assert shown["outcome"] == "waits" and shown["name"] == "s3://lake/x/x.h5" and shown["bytes"] > 0, shown
        assert look(store, folder) == arrived
        drained = json.loads(tool(store, folder, "drain", "--json", stage))
        assert drained["outcome"] == "arrived" and drained["to_version"] > drained["from_version"], drained
        assert look(store, folder) == 5 and not list(stage.iterdir())
        assert "stage" not in json.loads(tool(store, folder, "info", "--json", "x.h5"))
        assert tool(store, folder, "drain", stage) == ""
        tool(store, folder, "verify", "x.h5")
        writer = Writer(store, folder, "r+")
        writer.step(6)
        writer.close()
        assert look(store, folder) == 6


def check_the_next_writer_brings_the_rest(folder):
    with places(folder) as (store, stage):
        for passes in (0, 3):
            assert killed(store, folder, stage, passes=passes) < 5
            writer = Writer(store, folder, "r+", H5LAKE_STAGE=str(stage), H5LAKE_REPLACE="any")
            writer.step(6)
            writer.close()
            assert look(store, folder) == 6 and not list(stage.iterdir())
            tool(store, folder, "verify", "x.h5")
            (Path(folder) / "x.h5").unlink()
            store.objects.clear()


def check_a_rest_is_seen_by_any_name_of_the_server(folder):
    """A process that uses another name of the server, or that cannot see the folder, cannot write before the
    remaining steps have arrived."""
    with places(folder) as (store, stage):
        assert killed(store, folder, stage, passes=4) < 5
        other = store.endpoint.replace("127.0.0.1", "localhost")
        hidden = Path(folder) / "hidden"
        hidden.mkdir()
        program = "import h5py; h5py.File('x.h5', 'r+')"
        for more in (dict(H5LAKE_STAGE=str(stage)), {}, dict(H5LAKE_STAGE=str(hidden))):
            code, _, err, _ = store.run(program, folder, AWS_ENDPOINT_URL=other, **more)
            assert code and all(word in err for word in ("BlockingIOError", "h5lake drain", str(stage))), (more, err)
        stage.rename(Path(folder) / "away")
        for more in ({}, dict(H5LAKE_STAGE=str(stage))):
            code, _, err, _ = store.run(program, folder, **more)
            assert code and "BlockingIOError" in err and str(stage) in err, (more, err)
        if stage.exists():
            stage.rmdir()
        (Path(folder) / "away").rename(stage)
        assert "arrived" in tool(store, folder, "drain", stage)
        assert look(store, folder) == 5 and not list(stage.iterdir())


def check_a_killed_drain_is_told(folder):
    """The lock object names the stage during the upload, and also after the uploading process was killed."""
    with places(folder) as (store, stage):
        arrived = killed(store, folder, stage, passes=4)
        held = Held(store)
        drain = subprocess.Popen([os.environ["TOOL"], "drain", str(stage)], env=store.env(H5LAKE_TIMEOUT="60s"), cwd=folder,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: held.waiting > 0)
        drain.kill()
        drain.wait()
        held.let_go(drop=True)
        code, _, err, _ = store.run("import h5py; h5py.File('x.h5', 'r+')", folder)
        assert code and "h5lake drain" in err and str(stage) in err, err
        assert look(store, folder) == arrived
        # After its stage is discarded, the container can be written again.
        name = json.loads(tool(store, folder, "drain", "--dry-run", "--json", stage))["name"]
        assert "discarded" in tool(store, folder, "drain", "--discard", stage, name)
        code, _, err, _ = store.run("import h5py; h5py.File('x.h5', 'r+').close()", folder)
        assert code == 0, err
        assert look(store, folder) == arrived and not list(stage.iterdir())


def check_who_goes_on_without_the_rest(folder):
    """The remaining steps then conflict: the drain says so, and keeps them until the user discards them by name."""
    with places(folder) as (store, stage):
        arrived = killed(store, folder, stage, passes=4)
        tool(store, folder, "unlock", "--yes", "x.h5")
        writer = Writer(store, folder, "r+")
        writer.step(arrived + 1)
        assert "is open for writing" in tool(store, folder, "drain", stage, code=2)
        writer.close()
        told = json.loads(tool(store, folder, "drain", "--json", stage, code=2))
        assert told["outcome"] == "stays" and "another writer" in told["error"], told
        assert look(store, folder) == arrived + 1
        code, _, err, _ = store.run("import h5py; h5py.File('x.h5', 'r+')", folder, H5LAKE_STAGE=str(stage))
        assert code and "another writer" in err and "drain" in err, err
        assert "names" in tool(store, folder, "drain", "--discard", stage, code=1).lower()
        assert "nothing is left of" in tool(store, folder, "drain", "--discard", stage, "s3://lake/x/y.h5", code=1)
        assert list(stage.iterdir())
        assert "discarded" in tool(store, folder, "drain", "--discard", stage, told["name"])
        assert not list(stage.iterdir()) and look(store, folder) == arrived + 1


def check_a_full_stage_makes_writers_wait(folder):
    with places(folder) as (store, stage):
        writer = Writer(store, folder, H5LAKE_STAGE=str(stage), H5LAKE_STAGE_SIZE="2MiB")
        wait_for(lambda: look(store, folder) == 0)
        held = Held(store)
        writer.step(1)
        # The second step does not fit into the stage beside the first one.
        writer.process.stdin.write("next\n")
        time.sleep(1)
        assert held.waiting > 0
        size = sum(file.stat().st_size for file in stage.rglob("*") if file.is_file())
        assert size < 3 << 20, size
        held.let_go()
        writer.says("flushed 2")
        writer.close()
        assert look(store, folder) == 2


def check_a_store_that_stays_away_is_told(folder):
    """The close has a time limit, and the data that did not arrive is kept."""
    with places(folder) as (store, stage):
        store.run("import h5py; h5py.File('x.h5', 'w').close()", folder, H5LAKE_STAGE=str(stage))
        write = """
import h5py
f = h5py.File('x.h5', 'r+')
f['x'] = 1
f.flush()
print('ready', flush=True)
input()
f['y'] = 2
f.flush()
f.close()
"""
        process = store.start(write, folder, H5LAKE_STAGE=str(stage), H5LAKE_TIMEOUT="3s")
        assert process.stdout.readline().strip() == "ready"
        store.fault = lambda handler, _: handler.command != "GET" and (handler.error(503, "SlowDown") or True)
        _, err = process.communicate("\n", timeout=120)
        assert process.returncode and "have not arrived" in err and "h5lake drain" in err, err
        store.fault = None
        assert list(stage.iterdir())
        assert "arrived" in tool(store, folder, "drain", stage)
        code, out, err, _ = store.run("import h5py; print(sorted(h5py.File('x.h5')))", folder)
        assert out.strip() == "['x', 'y']", err


def check_the_end_of_a_program_drains(folder):
    with places(folder) as (store, stage):
        write = "import h5py\nf = h5py.File('x.h5', 'w')\nf['x'] = range(1000)\nf.flush()\nf['y'] = 1"
        code, _, err, _ = store.run(write, folder, H5LAKE_STAGE=str(stage), H5LAKE_STATS="1")
        assert code == 0 and "stage: " in err, err
        assert not list(stage.iterdir())
        code, out, err, _ = store.run("import h5py; print(sorted(h5py.File('x.h5')))", folder)
        assert out.strip() == "['x', 'y']", err


def check_a_forked_child_reads_what_waits(folder):
    with places(folder) as (store, stage):
        write = """
import h5py, numpy as np, os
f = h5py.File('x.h5', 'w')
f['x'] = np.arange(300_000)
f.flush()
print('ready', flush=True)
input()
f['y'] = np.arange(300_000) * 2
f.flush()
for _ in range(5):
    pid = os.fork()
    if not pid:
        assert f['x'][-1] == 299_999 and f['y'][-1] == 599_998
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print('read', flush=True)
input()
f.close()
"""
        process = store.start(write, folder, H5LAKE_STAGE=str(stage), H5LAKE_TIMEOUT="60s")
        assert process.stdout.readline().strip() == "ready"
        held = Held(store)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "read", process.stderr.read()
        held.let_go()
        _, err = process.communicate("\n", timeout=120)
        assert process.returncode == 0, err
        assert not list(stage.iterdir())


def check_settings(folder):
    with places(folder) as (store, stage):
        write = "import h5py\nwith h5py.File('x.h5', 'w') as f: f['x'] = 1\nprint('done')"
        code, _, err, _ = store.run(write, folder, H5LAKE_STAGE=str(stage), H5LAKE_WRITERS="many")
        assert code and "stage=" in err and "writers=many" in err, err
        code, _, err, _ = store.run(write, folder, H5LAKE_STAGE="stage")
        assert code and "H5LAKE_STAGE" in err and "absolute path" in err, err
        (Path(folder) / "file").touch()
        code, _, err, _ = store.run(write, folder, H5LAKE_STAGE=f"{folder}/file")
        assert code and "the stage" in err and f"{folder}/file" in err, err
        assert not store.objects
        # The folder is created with access for its owner alone. Local files and containers in memory have no stage.
        code, _, err, _ = store.run(write, folder, H5LAKE_STAGE=f"{folder}/new/stage")
        assert code == 0 and (Path(folder) / "new/stage").stat().st_mode & 0o777 == 0o700, err
        for more in (dict(H5LAKE_STORE=""), dict(H5LAKE_STORE="memory:x"), dict(H5LAKE_STORE="", H5LAKE_WRITERS="many")):
            (Path(folder) / "x.h5").unlink(missing_ok=True)
            code, out, err, _ = store.run(write, folder, H5LAKE_STAGE=f"{folder}/none", **more)
            assert out.strip() == "done" and not (Path(folder) / "none").exists(), err
        assert "no folder" in tool(store, folder, "drain", Path(folder) / "none", code=1)


if __name__ == "__main__":
    main(globals())
