"""Tasks that write one container from the workers of a scheduler, and checks of the result. The programs
dask_workers and ray_workers run them: `run(task, numbers)` calls task(number) for all numbers at the same time,
each in a process of its own."""

import collections
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from cases import same

WORKERS = 8
# The number of commits of each worker, for every case.
TURNS = int(os.environ.get("WORKER_COMMITS", 2))
ROWS, COLUMNS = 12, 64
# The rows of a worker end in the middle of a chunk, so that two workers write to that chunk.
FILTERS = {"plain": {}, "gzip": {"compression": "gzip", "shuffle": True},
           "lzf": {"compression": "lzf", "fletcher32": True}}
SEGMENT = 10
PAGE = Path(__file__).resolve().parents[2] / "docs/many-machines.md"
CONFLICT = "was changed by another writer"


class Meeting:
    """A barrier for all workers. They run on one machine, so that files are enough."""

    def __init__(self, folder, count=WORKERS):
        self.folder, self.count = Path(folder), count
        self.folder.mkdir(exist_ok=True)

    def wait(self, name, who, seconds=120):
        (self.folder / f"{name} {who}").touch()
        end = time.monotonic() + seconds
        while len(list(self.folder.glob(f"{name} *"))) < self.count:
            assert time.monotonic() < end, f"{name}: not all came"
            time.sleep(0.005)


def again_until_committed(f, change):
    """Changes and flushes until no other writer committed first. A conflict drops the whole batch."""
    for _ in range(100 * WORKERS):
        change(f)
        try:
            return f.flush()
        except RuntimeError as error:
            if CONFLICT not in str(error):
                raise
    raise AssertionError("no progress")


# Disjoint regions.

def create_regions(path):
    with h5py.File(path, "w") as f:
        for name, filters in FILTERS.items():
            f.create_dataset(name, (WORKERS * ROWS, COLUMNS), "i8", chunks=(10, 48), **filters)


def region_task(path, meeting, n):
    """Writes the worker's rows of each dataset in every turn. All workers have staged their rows before the first
    one commits."""
    rows = slice(n * ROWS, (n + 1) * ROWS)
    for turn in range(1, TURNS + 1):
        with h5py.File(path, "r+") as f:
            for name in FILTERS:
                same(f[name][rows], np.full((ROWS, COLUMNS), 100 * (turn - 1) + n if turn > 1 else 0))
                f[name][rows] = 100 * turn + n
            f.attrs[f"{n} in turn {turn}"] = os.getpid()
            meeting.wait(f"staged {turn}", n)
            if turn % 2:
                f.flush()
    return os.getpid()


def prove_regions(path, pids):
    assert len(set(pids)) == WORKERS and os.getpid() not in pids, pids
    with h5py.File(path) as f:
        wanted = np.repeat(100 * TURNS + np.arange(WORKERS), ROWS * COLUMNS).reshape(-1, COLUMNS)
        for name in FILTERS:
            same(f[name][:], wanted)
        for n, pid in enumerate(pids):
            assert [f.attrs[f"{n} in turn {turn}"] for turn in range(1, TURNS + 1)] == [pid] * TURNS


def disjoint_regions(folder, run):
    path, meeting = str(folder / "regions.h5"), Meeting(folder / "meeting")
    create_regions(path)
    prove_regions(path, run(lambda n: region_task(path, meeting, n), range(WORKERS)))


# Overlapping regions: worker n writes segments n and n + 1.

Fight = collections.namedtuple("Fight", "pid before told after")


def fight(path, meeting, n):
    """Lets all workers change the same version in each turn, so that neighbours conflict. A worker that gets the
    error tries again."""
    found, mine = [], slice(n * SEGMENT, (n + 2) * SEGMENT)
    for turn in range(1, TURNS + 1):
        def change(f, value=100 * turn + n):
            f["fight"][mine] = value
            f.attrs[f"{n} in turn {turn}"] = value

        with h5py.File(path, "r+") as f:
            before, told = f["fight"][:], ""
            change(f)
            meeting.wait(f"staged {turn}", n)
            try:
                f.flush()
            except RuntimeError as error:
                told = str(error)
            meeting.wait(f"flushed {turn}", n)
            f["fight"].refresh()
            after, kept = f["fight"][:], f"{n} in turn {turn}" in f.attrs
            assert kept == (not told), "the batch of a conflict is dropped whole"
            meeting.wait(f"looked {turn}", n)
            if told:
                again_until_committed(f, change)
        meeting.wait(f"ended {turn}", n)
        found.append(Fight(os.getpid(), before, told, after))
    return found


def prove_turn(turn, fights):
    """Checks that of two neighbours that changed the same version, the first to commit wins, and that the error of
    the other one names the winner and the lost elements."""
    winners = {n for n, one in enumerate(fights) if not one.told}
    wanted = fights[0].before.copy()
    for n in winners:
        assert n + 1 not in winners, f"two neighbours both committed in turn {turn}: {sorted(winners)}"
        wanted[n * SEGMENT:(n + 2) * SEGMENT] = 100 * turn + n
    for n, one in enumerate(fights):
        same(one.before, fights[0].before)
        same(one.after, wanted)
        if one.told:
            prove_told(one.told, n, winners & {n - 1, n + 1}, {fights[w].pid for w in winners})


def prove_told(told, n, rivals, pids):
    """Checks that an error names each element that the batch lost, and a process that changed the chunk. One of two
    rivals may have committed only after this worker got the error about the other one."""
    named = []
    parts = re.findall(r"/fight, (\d+) of the elements \[(\d+)\] to \[(\d+)\], "
                       r"was changed by another writer \(host (\S+), process (\d+)\)", told)
    for count, first, last, host, pid in parts:
        named += range(int(first), int(last) + 1)
        assert host == socket.gethostname() and int(pid) in pids, told
        assert int(count) == int(last) + 1 - int(first), told
    # The segment that both workers write has the number of the higher worker.
    lost = [list(range(max(r, n) * SEGMENT, (max(r, n) + 1) * SEGMENT)) for r in sorted(rivals)]
    assert named in [*lost, sum(lost, [])], f"worker {n} lost to {rivals}, and was told {told}"


def prove_end(values, turn):
    """Checks that each segment is complete and comes from a worker that writes it, and that one worker committed
    last."""
    segments = values.reshape(-1, SEGMENT)
    assert (segments == segments[:, :1]).all(), values
    owners = segments[:, 0] - 100 * turn
    assert all(s - 1 <= owner <= s and 0 <= owner < WORKERS for s, owner in enumerate(owners)), owners
    assert any(owners[n] == owners[n + 1] for n in range(WORKERS)), owners


def overlapping_regions(folder, run):
    path, meeting = str(folder / "fight.h5"), Meeting(folder / "meeting")
    with h5py.File(path, "w") as f:
        f.create_dataset("fight", ((WORKERS + 1) * SEGMENT,), "i8", chunks=(25,), compression="gzip")
    found = run(lambda n: fight(path, meeting, n), range(WORKERS))
    for turn in range(1, TURNS + 1):
        fights = [one[turn - 1] for one in found]
        assert len({one.pid for one in fights}) == WORKERS
        prove_turn(turn, fights)
        if turn > 1:
            prove_end(fights[0].before, turn - 1)
    with h5py.File(path) as f:
        prove_end(f["fight"][:], TURNS)
        assert len(f.attrs) == WORKERS * TURNS


# Killed workers.

DEATHS = ("staged", "committed", "any moment", "done")
# The first tasks kill their workers, and half of the workers survive.
KILLED = len(DEATHS)
TASKS = WORKERS + KILLED


class Killed:
    """Kills its worker at the given point of its first run. Later runs continue from the state that the container
    shows. A scheduler may repeat a task that had ended, because its result was lost with the worker. Files beside
    the container record the commits that flushes have reported."""

    def __init__(self, path, folder):
        self.path, self.folder = path, Path(folder)
        self.folder.mkdir(exist_ok=True)

    def __call__(self, n):
        death = DEATHS[n % len(DEATHS)] if n < KILLED else None
        begun = self.folder / f"begun {n}"
        is_again = begun.exists()
        begun.touch()
        if is_again:
            death = None
        with h5py.File(self.path, "r+") as f:
            first = self.proved(f, n)
            for turn in range(first, 10000 if death == "any moment" else TURNS):
                f["rows"][n * ROWS:(n + 1) * ROWS] = turn + 1
                if death == "staged":
                    die()
                if death == "any moment" and turn == 1:
                    die_within(0.02 + 0.005 * n)
                f.flush()
                (self.folder / f"committed {n} {turn + 1}").touch()
                if death == "committed":
                    die()
            again_until_committed(f, lambda f: add_once(f, n))
        if death == "done":
            die()
        return is_again

    def reported(self, n):
        """Returns the newest turn that a flush has reported as committed."""
        return max((int(note.name.split()[2]) for note in self.folder.glob(f"committed {n} *")), default=0)

    def proved(self, f, n):
        """Returns the turn of a task's rows. A reported turn must be present completely. The turn after it may be
        present, completely too."""
        rows = f["rows"][n * ROWS:(n + 1) * ROWS]
        reported = self.reported(n)
        assert (rows == rows[0]).all() and reported <= rows[0] <= reported + 1, (n, rows, reported)
        return int(rows[0])


def add_once(f, n):
    """Adds to a shared sum exactly once, however often it is called: the mark and the sum are one commit."""
    if f"done {n}" not in f.attrs:
        f["sum"][0] += n + 1
        f.attrs[f"done {n}"] = n


def die():
    os.kill(os.getpid(), 9)
    time.sleep(60)


def die_within(seconds):
    """Kills this process from outside after some seconds, at an arbitrary instruction."""
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -9 {os.getpid()}"])


def look(path):
    """Checks that the sum equals the sum of the marks, in any version."""
    with h5py.File(path) as f:
        assert f["sum"][0] == sum(int(n) + 1 for n in f.attrs.values()), (f["sum"][0], dict(f.attrs))


def killed_workers(folder, start):
    """Runs the test with killed workers. `start(task, numbers)` starts the tasks, and returns a function that waits
    for some seconds and then returns all results, or None."""
    path = str(folder / "killed.h5")
    with h5py.File(path, "w") as f:
        f.create_dataset("rows", (TASKS * ROWS,), "i8", chunks=(10,), compression="gzip")
        f["sum"] = np.zeros(1, "i8")
    task = Killed(path, folder / "notes")
    results, looks, answer, end = start(task, range(TASKS)), 0, None, time.monotonic() + 120
    while answer is None:
        assert time.monotonic() < end, "the scheduler does not run the tasks again"
        look(path)
        looks += 1
        answer = results(0.01)
    assert looks > 1 and all(answer[:KILLED]), (looks, answer)
    look(path)
    with h5py.File(path) as f:
        assert all(task.proved(f, n) >= TURNS for n in range(TASKS))
        assert len(f.attrs) == TASKS, "each task counts once"


# The recipes of the page.

def recipe(folder, heading, **environment):
    """Runs the program below a heading of the page with variables that lead to the scheduler, and checks the content
    of the file."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    program = re.search(r"```python\n(.*?)```", section, re.S)[1]
    path = str(folder / "run.h5")
    run = subprocess.run([sys.executable, "-c", program], env={**os.environ, "RUN": path, **environment}, cwd=folder,
                         capture_output=True, text=True)
    told = re.findall(r"^(\d+) is committed$", run.stdout, re.M)
    assert run.returncode == 0 and sorted(map(int, told)) == list(range(16)), run
    with h5py.File(path) as f:
        same(f["field"][:], np.repeat(np.arange(1.0, 17), 1000 * 100).reshape(16000, 100))
