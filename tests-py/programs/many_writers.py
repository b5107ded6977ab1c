"""Several processes write one file at the same time, without MPI and without any agreement between them."""
# only: h5lake

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest.mock
from datetime import datetime
from pathlib import Path

os.environ.setdefault("H5LAKE_WRITERS", "many")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import IN_STORE, main, raises, same  # noqa: E402

spawn = multiprocessing.get_context("spawn")
WORKERS = 4
FILTERS = {"plain": {}, "gzip": {"compression": "gzip", "shuffle": True}, "lzf": {"compression": "lzf", "fletcher32": True},
           "scaleoffset": {"scaleoffset": 0}}


class Peer:
    """Another process that has a file open and runs the statements that it receives."""

    def __init__(self, path, mode="r+", **environment):
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, path, mode))
        # A connector reads its settings when its library starts.
        with unittest.mock.patch.dict(os.environ, environment):
            self.process.start()
        self.pid = self.process.pid
        self.answer()

    def answer(self):
        assert self.pipe.poll(60), "no answer"
        error, value = self.pipe.recv()
        if error:
            raise error
        return value

    def __call__(self, code):
        """Runs a statement on the file `f` in the other process, or returns the value of an expression."""
        self.pipe.send(code)
        return self.answer()

    def end(self):
        self("f.close()")
        self.pipe.send(None)
        self.process.join(60)
        assert self.process.exitcode == 0, self.process.exitcode


def serve(pipe, path, mode):
    try:
        scope = {"f": h5py.File(path, mode), "np": np, "h5py": h5py}
    except Exception as error:  # noqa: BLE001 - told to the other side
        pipe.send((OSError(f"{type(error).__name__}: {error}"), None))
        return
    pipe.send((None, None))
    while (code := pipe.recv()) is not None:
        try:
            try:
                value = eval(code, scope)
            except SyntaxError:
                value = exec(code, scope)
            pipe.send((None, None if isinstance(value, h5py.HLObject) else value))
        except Exception as error:  # noqa: BLE001
            pipe.send((RuntimeError(f"{type(error).__name__}: {error}"), None))


DROPPED = "Nothing of this batch is committed"
REST = "All else is committed"


def conflict(peer, code="f.flush()", then=DROPPED):
    """Checks that a flush reports a conflict, and returns the text of the error. The next flush succeeds."""
    text = str(raises(RuntimeError, peer, code))
    assert "was changed by another writer (host " + socket.gethostname() in text, text
    assert then in text, text
    return text


def part(n):
    """Writes every fourth run of ten elements of all datasets, six times, with a flush and a close each time."""
    for turn in range(6):
        with h5py.File("parts.h5", "r+") as f:
            for name in FILTERS:
                for start in range(10 * n, 4000, 10 * WORKERS):
                    f[name][start:start + 10] = 1000 * turn + n
            f["lines"][n::WORKERS] = 1000 * turn + n
            f.flush()
            f["strings"][n * 5:n * 5 + 5] = [f"{n} in turn {turn}"] * 5
    return os.getpid()


def check_parts_of_one_dataset(folder):
    with h5py.File("parts.h5", "w") as f:
        for name, filters in FILTERS.items():
            f.create_dataset(name, (4000,), "i4", chunks=(1500,), **filters)
        f.create_dataset("lines", (64, 1000), "f8")
        f.create_dataset("strings", (20,), h5py.string_dtype())
    with spawn.Pool(WORKERS) as pool:
        assert len(set(pool.map(part, range(WORKERS), chunksize=1))) > 1
    with h5py.File("parts.h5") as f:
        wanted = 5000 + np.arange(4000) // 10 % WORKERS
        for name in FILTERS:
            same(f[name][:], wanted.astype("i4"))
        same(f["lines"][:], np.repeat(5000.0 + np.arange(64) % WORKERS, 1000).reshape(64, 1000))
        assert [s.decode() for s in f["strings"][:]] == [f"{n} in turn 5" for n in range(4) for _ in range(5)]


def long_commits(n):
    """Makes commits of two megabytes each. All of the data is stored inline in the map."""
    data = np.random.default_rng(n).integers(0, 256, (1000, 2048), "u1")
    with h5py.File("long.h5", "r+") as f:
        for step in range(6):
            f["d"][1000 * n:1000 * (n + 1)] = data + step
            f.flush()
    return data + 5


def check_long_commits_of_all_at_once(folder):
    with h5py.File("long.h5", "w") as f:
        f.create_dataset("d", (1000 * WORKERS, 2048), "u1", chunks=(1, 2048))
    with spawn.Pool(WORKERS) as pool:
        written = np.concatenate(pool.map(long_commits, range(WORKERS), 1))
    with h5py.File("long.h5") as f:
        same(f["d"][:], written)


def own(n):
    with h5py.File("own.h5", "r+") as f:
        for turn in range(10):
            group = f.create_group(f"of {n}/turn {turn}", track_order=True)
            group.create_dataset("data", data=np.full(3000, n), chunks=(500,), compression="gzip")
            group.attrs["process"] = f"number {n}"
            f.attrs[f"{n} {turn}"] = turn
            f["shared"].attrs[f"{n} {turn}"] = np.arange(turn)
            f[f"shared/{n} {turn}"] = h5py.SoftLink("/of")
            f["shared"].create_dataset(f"d {n} {turn}", data=f"text {n}")
            if turn % 3 == 0:
                f.flush()
        del f[f"of {n}/turn 4"]


def check_own_objects(folder):
    with h5py.File("own.h5", "w") as f:
        f.create_group("shared", track_order=True)
    with spawn.Pool(WORKERS) as pool:
        pool.map(own, range(WORKERS), chunksize=1)
    with h5py.File("own.h5") as f:
        assert len(f.attrs) == 40 and len(f["shared"].attrs) == 40 and len(f["shared"]) == 80
        assert sorted(f) == sorted([*(f"of {n}" for n in range(4)), "shared"])
        for n in range(WORKERS):
            assert len(f[f"of {n}"]) == 9
            for turn in set(range(10)) - {4}:
                group = f[f"of {n}/turn {turn}"]
                same(group["data"][:], np.full(3000, n))
                assert group.attrs["process"] == f"number {n}" and f.attrs[f"{n} {turn}"] == turn
                assert f[f"shared/d {n} {turn}"][()] == f"text {n}".encode()


def in_shared_groups(n):
    """Writes as programs do that do not know of each other: each requires the groups that it needs, and any of them
    may have created them."""
    with h5py.File("groups.h5", "r+") as f:
        run = f.require_group("run")
        run.attrs[f"of {n}"] = n
        run.attrs["made by"] = "this program"
        for turn in range(3):
            night = f.require_group(f"run/day {turn}/night")
            night[f"{n}"] = np.full(10, n)
            f[f"deep/{turn}/in between/{n}"] = n
            f.flush()
            # The open group stays usable, whichever writer's group has the name by now.
            night[f"{n} later"] = n
            assert night.name == f"/run/day {turn}/night" and night == f[night.name] and f"{n}" in night


def check_groups_that_all_make(folder):
    for _ in range(3):
        with h5py.File("groups.h5", "w") as f:
            f["x"] = 1
        with spawn.Pool(WORKERS) as pool:
            pool.map(in_shared_groups, range(WORKERS), chunksize=1)
        with h5py.File("groups.h5") as f:
            assert sorted(f["run"].attrs) == ["made by", *(f"of {n}" for n in range(WORKERS))]
            assert sorted(f["run"]) == [f"day {turn}" for turn in range(3)]
            for turn in range(3):
                night, between = f[f"run/day {turn}/night"], f[f"deep/{turn}/in between"]
                assert len(night) == 2 * WORKERS and len(between) == WORKERS
                for n in range(WORKERS):
                    same(night[f"{n}"][:], np.full(10, n))
                    assert night[f"{n} later"][()] == n and between[f"{n}"][()] == n


def task(n):
    """Does the usual work of a task in a process pool: opens the file, stores a result, closes the file."""
    with h5py.File("pool.h5", "a") as f:
        f["result"][n] = n * n
        f["chunked"][n] = n
        f[f"runs/{n}/log"] = np.arange(n % 7)
    return n


def check_process_pool(folder):
    with h5py.File("pool.h5", "w") as f:
        f.create_dataset("result", (200,), "i8")
        f.create_dataset("chunked", (200, 50), "i2", chunks=(64, 50), compression="gzip")
        f.create_group("runs")
    with spawn.Pool(WORKERS) as pool:
        assert sorted(pool.imap_unordered(task, range(200))) == list(range(200))
    with h5py.File("pool.h5") as f:
        same(f["result"][:], np.arange(200) ** 2)
        same(f["chunked"][:], np.repeat(np.arange(200, dtype="i2"), 50).reshape(200, 50))
        assert len(f["runs"]) == 200 and all(f[f"runs/{n}/log"].size == n % 7 for n in range(200))


def check_a_writer_sees_the_others(folder):
    with h5py.File("seen.h5", "w") as f:
        f.create_dataset("x", (8,), "i4", maxshape=(None,), chunks=(8,))
    a, b = Peer("seen.h5"), Peer("seen.h5")
    a("f['x'].resize((16,)); f['x'][8:] = 7; f['new'] = 1; f.flush()")
    assert b("(f['x'].shape, 'new' in f)") == ((8,), False)
    b("f['x'][0] = 3; f['mine'] = 2; f.flush()")
    assert b("(f['x'].shape, f['x'][:].tolist(), 'new' in f)") == ((16,), [3] + [0] * 7 + [7] * 8, True)
    # A writer without changes of its own sees the other writer's commits after a refresh.
    assert not a("'mine' in f")
    a("f['x'].refresh()")
    assert a("(f['mine'][()], f['x'][0])") == (2, 3)
    # A reader keeps seeing one version until it refreshes.
    with h5py.File("seen.h5") as f:
        b("f['x'][1] = 4; f.flush()")
        assert f["x"][1] == 0
        f["x"].refresh()
        assert f["x"][1] == 4
    a.end()
    b.end()


def check_a_batch_in_conflict_commits_nothing(folder):
    with h5py.File("batch.h5", "w") as f:
        f.create_dataset("x", (10,), "i4", maxshape=(None,), chunks=(10,), compression="gzip")
        f["gone"] = np.arange(10)
        f.attrs["n"], f["text"] = 5, "old"
        f.create_group("run1"), f.create_group("run2")
    a, b = Peer("batch.h5"), Peer("batch.h5")
    for code, other, words in (
            # The second half of each batch would be no conflict by itself.
            ("f['x'][3] = 1", "f['x'][2:5] = 2; f['x'][8] = 9; f['rest'] = 1", "/x, 1 of the elements [3] to [3],"),
            ("f['x'][0] = f['x'][0] + 1", "f['x'][0] = f['x'][0] + 1", "/x, 1 of the elements [0] to [0],"),
            ("f.attrs['n'] = f.attrs['n'] + 1", "f.attrs['n'] = f.attrs['n'] + 1; f['rest'] = 1", "/, attribute 'n',"),
            ("f['x'].resize((12,)); f['x'][10:] = 1", "f['x'].resize((15,)); f['x'][10:] = 2", "/x, its dimensions ([10] to [12]),"),
            ("f['x'].resize((14,)); f['x'][12:] = 1", "f['x'].resize((14,)); f['x'][12:] = 1", "/x, its dimensions ([12] to [14]),"),
            ("f['m'] = 1", "f.move('text', 'm')", "/, link 'm',"),
            ("f['gone'][1] = 5", "del f['gone']", "/gone, which this batch deletes,"),
            ("f.move('run1', 'run2/run1')", "f.move('run2', 'run1/run2')", "/run2, which the moves of two writers"),
            ("del f['gone']", "f['gone'][2] = 7; f['rest'] = 1", "/gone, which was deleted,")):
        a("f['x'].refresh()")
        b("f['x'].refresh()")
        a(code)
        b(other)
        a("f.flush()")
        text = conflict(b)
        assert words in text, (words, text)
        assert b("'rest' in f") is False and b("f['text'][()]") == b"old"
        # The writer now sees the other writer's changes. The same change succeeds on the second try where it still
        # makes sense.
        same(b("f['x'][:]"), a("f['x'][:]"))
    b("f['x'][3] = 2; f.flush()")
    a.end()
    b.end()
    with h5py.File("batch.h5") as f:
        assert f["x"][:].tolist() == [1, 0, 0, 2] + 6 * [0] + 4 * [1] and f.attrs["n"] == 6
        assert sorted(f) == ["m", "run2", "text", "x"] and "run1" in f["run2"]


def check_conflicts_are_told_and_the_rest_is_kept_if_asked_for(folder):
    with h5py.File("conflict.h5", "w") as f:
        for name, filters in FILTERS.items():
            f.create_dataset(name, (100, 100), "i4", chunks=(50, 50), **filters)
        f.create_dataset("grow", (10,), "i4", maxshape=(None,), chunks=(10,))
        f.create_dataset("gone", (10,), "i4")
        f.attrs["x"] = 0
    a, b = Peer("conflict.h5"), Peer("conflict.h5", H5LAKE_CONFLICT="merge")
    for name in FILTERS:
        a(f"f['{name}'][10:20, 10:20] = 1")
        b(f"f['{name}'][15:25, 15:25] = 2; f['{name}'][90] = 5; f['of b, {name}'] = 1")
        a("f.flush()")
        text = conflict(b, then=REST)
        assert f"/{name}, 25 of the elements [15, 15] to [19, 19], was changed" in text, text
        assert f"process {a.pid}) in version" in text, text
        wanted = np.zeros((100, 100), "i4")
        wanted[15:25, 15:25], wanted[10:20, 10:20], wanted[90] = 2, 1, 5
        same(b(f"f['{name}'][:]"), wanted)
        # The writer now sees the other writer's data, and may write again.
        b(f"f['{name}'][15:20, 15:20] = 2; f.flush()")
        a("f['grow'].refresh()")
        wanted[15:20, 15:20] = 2
        same(a(f"f['{name}'][:]"), wanted)
    told = 0
    for code, name in (("f.attrs['x'] = {0}", "/, attribute 'x',"), ("f.attrs['text'] = 'by {0}'", "attribute 'text'"),
                       ("f['name'] = {0}", "/, link 'name',"), ("f['grow'].resize(({0}0,)); f['grow'][10:] = {0}", "/grow")):
        a(code.format(4))
        b(code.format(5))
        b(f"f['kept {told}'] = 1")
        a("f.flush()")
        text = conflict(b, then=REST)
        assert name in text, text
        told += 1
    # If both writers made the same change, there is no conflict.
    for peer in (a, b):
        peer("f['grow'].refresh(); f.attrs['both'] = 'the same'; f.attrs['n'] = np.arange(5); f['soft'] = h5py.SoftLink('/x')")
        peer("f['gzip'][0] = 9")
    a("f.flush()")
    b("f.flush()")
    a("del f['gone']; f.flush()")
    b("f['gone'][3] = 1")
    text = conflict(b, "f.close()", REST)
    assert "/gone, which was deleted," in text, text
    a.end()
    b.end()
    with h5py.File("conflict.h5") as f:
        assert f.attrs["x"] == 4 and f.attrs["text"] == "by 4" and f["name"][()] == 4 and "gone" not in f
        assert all(f"kept {n}" in f for n in range(told)) and all(f"of b, {name}" in f for name in FILTERS)
        assert f["grow"].shape == (50,) and (f["grow"][10:40] == 4).all() and (f["grow"][40:] == 5).all()


def check_the_last_wins_if_asked_for(folder):
    with h5py.File("last.h5", "w") as f:
        f.create_dataset("x", (100,), "i4", chunks=(30,), compression="gzip")
    a, b = Peer("last.h5"), Peer("last.h5", H5LAKE_CONFLICT="last")
    for n, peer in enumerate((a, b)):
        peer(f"f['x'][{40 * n}:{40 * n + 50}] = {n + 1}; f.attrs['who'] = {n}; f['name'] = {n}")
    a("f.flush()")
    b("f.flush()")
    a.end()
    b.end()
    with h5py.File("last.h5") as f:
        same(f["x"][:], np.repeat(np.array([1, 2, 0], "i4"), [40, 50, 10]))
        assert f.attrs["who"] == 1 and f["name"][()] == 1


def check_a_killed_writer_holds_up_nobody(folder):
    with h5py.File("killed.h5", "w") as f:
        f.create_dataset("x", (1000,), "i4", chunks=(1000,))
    b = Peer("killed.h5")
    for n in range(5):
        a = Peer("killed.h5")
        a(f"f['x'][{n}] = 1; f.flush(); f['x'][500:] = 8; f['lost {n}'] = np.zeros(100000)")
        os.kill(a.pid, signal.SIGKILL)
        a.process.join(60)
        b(f"f['x'][{100 + n}] = 2; f['of b {n}'] = np.full(100000, {n}); f.flush()")
    b.end()
    with h5py.File("killed.h5") as f:
        wanted = np.zeros(1000, "i4")
        wanted[:5], wanted[100:105] = 1, 2
        same(f["x"][:], wanted)
        assert sorted(f) == sorted(["x", *(f"of b {n}" for n in range(5))])
        assert all((f[f"of b {n}"][:] == n).all() for n in range(5))


def check_a_close_that_meets_a_conflict_can_be_tried_again(folder):
    with h5py.File("close.h5", "w") as f:
        f.create_dataset("x", (10,), "i4")
    a, b = Peer("close.h5"), Peer("close.h5")
    a("f['x'][:5] = 1; f.flush()")
    b("f['x'][3:8] = 2; f['kept'] = 1")
    assert "/x, 2 of the elements 3 to 4, was changed" in conflict(b, "f.close()")
    # The file is still open and shows the other writer's data. The next close commits the changes made from now on.
    assert b("bool(f)") and b("f['x'][:].tolist()") == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0] and not b("'kept' in f")
    b("f['x'][3:8] = 2; f['kept'] = 1; f.close(); f.close()")
    assert not b("bool(f)")
    a.end()
    b.end()
    with h5py.File("close.h5") as f:
        assert f["x"][:].tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 0, 0] and f["kept"][()] == 1


def told_once(peer, words, file="f"):
    """Checks that a close reports changes that can never be committed, and that the next close succeeds."""
    assert words in str(raises(RuntimeError, peer, f"{file}.close()"))
    peer(f"{file}.close()")
    assert not peer(f"bool({file})")


def check_nothing_is_lost_beside_a_writer_that_keeps_nothing(folder):
    """One writer reclaims the space of replaced data at once. The other writers, which may still refer to that data,
    can continue."""
    maker = Peer("beside.h5", "w", H5LAKE_WRITERS="one")
    maker("f.create_dataset('shared', (1000,), 'i4', chunks=(100,))")
    maker.end()
    slow, fast = Peer("beside.h5"), Peer("beside.h5", H5LAKE_RETENTION="0s")
    for turn in range(3):
        fast(f"for n in range(100):\n f.attrs['turn {turn}'] = n\n f.flush()")
        slow(f"f.create_dataset('slow {turn}', data=np.full(5000, {turn}))")
        fast(f"f.create_dataset('fast {turn}', data=np.full(5000, -{turn}))")
        slow(f"f['shared'][{turn}:500:7] = 1")
        fast(f"f['shared'][{turn} + 501::7] = 2")
        slow("f.flush()")
        fast("f.flush()")
    slow.end()
    fast.end()
    with h5py.File("beside.h5", "r") as f:
        assert sorted(f) == sorted([f"{who} {n}" for who in ("slow", "fast") for n in range(3)] + ["shared"])
        for turn in range(3):
            same(f[f"slow {turn}"][:], np.full(5000, turn))
            same(f[f"fast {turn}"][:], np.full(5000, -turn))
            assert f.attrs[f"turn {turn}"] == 99
        assert (f["shared"][:500].sum(), f["shared"][501:].sum()) == (sum(len(range(n, 500, 7)) for n in range(3)),
                                                                      2 * sum(len(range(n + 501, 1000, 7)) for n in range(3)))


def check_what_was_replaced_is_told_once(folder):
    with h5py.File("replaced.h5", "w") as f:
        f["x"] = 0
    peers = [Peer("replaced.h5") for _ in range(4)]
    if not IN_STORE:
        # A file cannot be replaced while another process has it open.
        assert attempt("replaced.h5", "w", H5LAKE_WRITERS="many").startswith("BlockingIOError")
        for peer in peers:
            peer("f[f'of {h5py.h5f.get_obj_count(f.id)} {id(f)}'] = 1")
            peer.end()
        return
    for peer in peers:
        peer("f['lost'] = np.arange(1000)")
    with h5py.File("replaced.h5", "w") as f:
        f["new"] = 1
    replaced = "another process replaced the container"
    for peer in peers:
        peer("f['x'][()] = 5")
    a, b, c, d = peers
    told_once(a, replaced)
    # This process can open the new container.
    a("f = h5py.File('replaced.h5', 'r+'); f['of a'] = 1; f.flush()")
    assert a("sorted(f)") == ["new", "of a"]
    # Every flush reports the replacement. The close of each file that is open on the container reports it once.
    b("g = h5py.File('replaced.h5', 'r+')")
    for _ in range(2):
        assert replaced in str(raises(RuntimeError, b, "f.flush()"))
    told_once(b, replaced, "g")
    told_once(b, replaced)
    b("f = h5py.File('replaced.h5', 'r+'); f['of b'] = 1")
    # H5Fclose leaves the objects of the file open. The first call reports the replacement, and the second one succeeds
    # as usual.
    c("d = f['lost']")
    assert replaced in str(raises(RuntimeError, c, "f.id.close()"))
    c("f.id.close()")
    assert not c("bool(f)") and c("d[:3].tolist()") == [0, 1, 2]
    c("d.id._close(); e = d.id.valid")
    assert not c("e")
    # A process may end with the file open. The exit code 74 says that changes were lost that no error had reported
    # before.
    for peer, code in ((c, 0), (d, 74)):
        peer.pipe.send(None)
        peer.process.join(60)
        assert peer.process.exitcode == code, peer.process.exitcode
    a.end()
    b.end()
    with h5py.File("replaced.h5") as f:
        assert sorted(f) == ["new", "of a", "of b"]


def check_a_writer_whose_place_was_taken_is_told_once(folder):
    store = re.search(r"store=file://(\S+)", os.environ.get("HDF5_VOL_CONNECTOR", ""))
    with h5py.File("lease.h5", "w") as f:
        f["x"] = 0
    a = Peer("lease.h5", H5LAKE_WRITERS="one")
    a("f['x'][()] = 1")
    if store is None:
        assert attempt("lease.h5").startswith("BlockingIOError")
        a.end()
        return
    # Removes the lease, as if the process had slept until its lease expired.
    for lock in Path(store[1]).rglob("lease"):
        lock.unlink()
    b = Peer("lease.h5", H5LAKE_WRITERS="one")
    b("f['x'][()] = 2; f.flush()")
    assert "another writer has committed" in str(raises(RuntimeError, a, "f.flush()"))
    told_once(a, "another writer has committed")
    b("f['y'] = 1; f.flush()")
    b.end()
    a("f = h5py.File('lease.h5', 'r+')")
    assert a("(f['x'][()], f['y'][()])") == (2, 1)
    a.end()


def create(n):
    try:
        with h5py.File("race.h5", "w") as f:
            f["who"] = n
            time.sleep(0.05)
    except (OSError, RuntimeError, ValueError) as error:
        # A container in a store can always be replaced. The next change of the writer that had it open reports the
        # replacement: here the creation of the dataset, which reserves a number (ValueError), or the close.
        if IN_STORE and "another process replaced the container" in str(error):
            return "replaced"
        if not isinstance(error, OSError):
            raise
        return type(error).__name__
    return n


def check_creating_at_the_same_time(folder):
    with spawn.Pool(WORKERS) as pool:
        for _ in range(5):
            create_all(pool)


def create_all(pool):
    outcomes = pool.map(create, range(WORKERS), chunksize=1)
    made = [o for o in outcomes if isinstance(o, int)]
    assert made and set(outcomes) - set(made) <= {"BlockingIOError", "replaced"}, outcomes
    with h5py.File("race.h5") as f:
        assert f["who"][()] in made


TRY = """
import sys
try:
    import h5py
    h5py.File({path!r}, {mode!r}{more}).close()
    print("no error")
except Exception as error:
    print(type(error).__name__, error)
"""


def attempt(path, mode="r+", more="", **environment):
    env = {**os.environ, "H5LAKE_WRITERS": "one", **environment}
    run = subprocess.run([sys.executable, "-c", TRY.format(path=path, mode=mode, more=more)], env=env,
                         capture_output=True, text=True)
    assert run.returncode == 0, run
    return run.stdout.strip()


def check_one_writer_keeps_others_out(folder):
    with h5py.File("one.h5", "w") as f:
        f["x"] = 1
    begin = int(time.time())
    holder = Peer("one.h5", H5LAKE_WRITERS="one")
    for writers in ("one", "many"):
        for mode in ("r+", "a", "w"):
            said = attempt("one.h5", mode, H5LAKE_WRITERS=writers)
            assert said.startswith("BlockingIOError") and "errno = 11" in said, said
            assert f"process {holder.pid} on {socket.gethostname()}" in said, said
            since = datetime.fromisoformat(said.split("(since ")[1].split(")")[0].replace("Z", "+00:00"))
            assert begin - 1 <= since.timestamp() <= time.time() + 1, said
    assert attempt("one.h5", "r") == "no error"
    is_file = not (folder / "objects").exists() and "store" not in os.environ.get("HDF5_VOL_CONNECTOR", "")
    if is_file:
        # As with native files, locks are switched off by the environment variable or by the file access property list.
        assert attempt("one.h5", HDF5_USE_FILE_LOCKING="FALSE") == "no error"
        assert attempt("one.h5", more=", locking=False") == "no error"
        assert attempt("one.h5", more=", locking=False", HDF5_USE_FILE_LOCKING="TRUE").startswith("BlockingIOError")
        assert attempt("one.h5", more=", locking='best-effort'").startswith("BlockingIOError")
        said = attempt("one.h5", HDF5_USE_FILE_LOCKING="FALSE", H5LAKE_WRITERS="many")
        assert "needs file locks" in said, said
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.join(60)
    assert attempt("one.h5") == "no error", "a dead process's lock is no lock"
    many = Peer("one.h5")
    if is_file:
        assert attempt("one.h5").startswith("BlockingIOError")
        assert attempt("one.h5", "w", H5LAKE_WRITERS="many").startswith("BlockingIOError")
    many.end()
    assert attempt("one.h5") == "no error"


if __name__ == "__main__":
    main(dict(globals()))
