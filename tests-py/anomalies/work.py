"""The processes of `run`, and the check of their histories.

    work.py create FOLDER
    work.py writer|reader FOLDER NUMBER SEED UNTIL
    work.py check FOLDER

A history has a line for each batch before its flush, and a line with the outcome after it. If the outcome is
missing, the process was killed, and the batch may be committed or not."""

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

ACCOUNTS, SUM = 8, 8000
PAIRS = 6
COUNTERS = 3
GROUPS = 6
# The number of names that all writers claim and release.
NAMES = 3
JOBS = 3000
CONFLICT = "was changed by another writer"
# The number of seconds that a writer may continue without a commit.
LATE = 30


def create(folder):
    with h5py.File(folder / "a.h5", "w") as f:
        f.create_dataset("counters", (COUNTERS,), "i8", chunks=(COUNTERS,))
        f.attrs["counter"] = 0
        f.create_dataset("pairs", (2 * PAIRS,), "i8", chunks=(3,), compression="gzip")
        f.create_dataset("log", (0,), "i8", maxshape=(None,), chunks=(64,))
        f["accounts a"] = np.full(ACCOUNTS, SUM // ACCOUNTS // 2)
        f["accounts b"] = np.full(ACCOUNTS, SUM // ACCOUNTS // 2)
        f.create_group("set")
        f.create_group("done")
        todo = f.create_group("todo")
        for n in range(JOBS):
            todo[f"job {n}"] = h5py.SoftLink("/")
        for name in "names", "shelf", "variables":
            f.create_group(name)
        f["scale"] = np.arange(3)
        f["scale"].make_scale("scale")
        tree = f.create_group("tree")
        for n in range(GROUPS):
            tree.create_group(f"g{n}")


class Writer:
    def __init__(self, folder, number, seed):
        self.number, self.chance, self.seq, self.committed = number, random.Random(seed), 0, 0
        self.history = open(folder / f"history-{number}.jsonl", "a", buffering=1)
        self.file = open_again(folder / "a.h5")
        self.kinds = [self.count, self.count_attribute, self.pair, self.append, self.transfer, self.add, self.take, self.move,
                      self.claim, self.release, self.gather, self.shelve, self.attach]

    def unique(self):
        self.seq += 1
        return self.number * 1_000_000 + self.seq

    def note(self, **what):
        self.history.write(json.dumps(what) + "\n")

    def batch(self):
        """Makes one to three changes and a flush."""
        f, done = self.file, []
        for change in self.chance.sample(self.kinds, self.chance.randint(1, 3)):
            done += [d for d in [change(f)] if d]
        self.note(begin=done)
        try:
            f.flush()
        except RuntimeError as error:
            if CONFLICT not in str(error):
                raise
            self.note(end="conflict")
            return
        self.note(end="ok")
        self.committed += 1

    def count(self, f):
        n = self.chance.randrange(COUNTERS)
        f["counters"][n] = f["counters"][n] + 1
        return ["count", n]

    def count_attribute(self, f):
        f.attrs["counter"] = f.attrs["counter"] + 1
        return ["count", COUNTERS]

    def pair(self, f):
        n, value = self.chance.randrange(PAIRS), self.unique()
        f["pairs"][2 * n], f["pairs"][2 * n + 1] = value, value
        return ["pair", n, value]

    def append(self, f):
        log, value, end = f["log"], self.unique(), len(f["log"])
        rows = self.chance.randint(1, 3)
        log.resize((end + rows,))
        log[end:] = value
        return ["append", value, rows]

    def transfer(self, f):
        a, b = f["accounts a"], f["accounts b"]
        i, j = self.chance.randrange(ACCOUNTS), self.chance.randrange(ACCOUNTS)
        amount = self.chance.randint(-50, 50)
        a[i], b[j] = a[i] + amount, b[j] - amount
        return ["transfer"]

    def add(self, f):
        value = self.unique()
        f["set"][str(value)] = h5py.SoftLink("/")
        f["set"].attrs[f"a {value}"] = value
        return ["add", value]

    def take(self, f):
        names = [f"job {self.chance.randrange(JOBS)}" for _ in range(5)]
        name = next((n for n in names if f["todo"].get(n, getlink=True)), None)
        if name is None:
            return None
        if self.chance.random() < 0.5:
            f.move(f"todo/{name}", f"done/{self.number} {name}")
        else:
            f[f"done/{self.number} {name}"] = h5py.SoftLink("/")
            del f["todo"][name]
        return ["take", name]

    def move(self, f):
        places = tree_of(f)
        name, to = self.chance.sample(sorted(places), 2)
        if name == "tree" or places[to].startswith(places[name] + "/"):
            return None
        # The new name contains the target, so that it is free.
        f.move(places[name], f"{places[to]}/{name}") if places[name] != f"{places[to]}/{name}" else None
        return ["move"]

    def claim(self, f):
        """Claims a free name, which other writers may have claimed and released meanwhile."""
        name, value = f"names/n{self.chance.randrange(NAMES)}", self.unique()
        if name in f:
            return None
        f[name] = value
        return ["claim", value]

    def release(self, f):
        name = f"names/n{self.chance.randrange(NAMES)}"
        if name not in f:
            return None
        value = int(f[name][()])
        del f[name]
        return ["release", value]

    def gather(self, f):
        """Adds to a group that every writer creates; a group that was moved away is another group."""
        value = self.unique()
        f.require_group(f"names/g{self.chance.randrange(NAMES)}")[str(value)] = h5py.SoftLink("/")
        return ["gather", value]

    def shelve(self, f):
        """Moves such a group away, or moves a group that was moved away back to a free name."""
        name, shelf = f"names/g{self.chance.randrange(NAMES)}", f["shelf"]
        if name in f:
            f.move(name, f"shelf/{self.unique()}")
        elif len(shelf):
            f.move(f"shelf/{self.chance.choice(sorted(shelf))}", name)
        else:
            return None
        return ["shelve"]

    def attach(self, f):
        """Creates a variable of this writer with a dimension that all writers share."""
        variables = f["variables"]
        mine = [name for name in variables if name.startswith(f"{self.number} ")]
        if len(mine) < 8:
            name = f"{self.number} {self.unique()}"
            variables[name] = np.arange(3)
            variables[name].dims[0].attach_scale(f["scale"])
            return ["attach", name]
        name = self.chance.choice(mine)
        variables[name].dims[0].detach_scale(f["scale"])
        del variables[name]
        return ["detach", name]


def tree_of(f):
    """Returns the path of each group of the tree."""
    places, pending = {"tree": "/tree"}, ["/tree"]
    while pending:
        at = pending.pop()
        for name in f[at]:
            if name in places:
                places[f"twice {name}"] = at
            else:
                places[name] = f"{at}/{name}"
                pending.append(places[name])
    return places


def open_again(path):
    """Opens the file, and waits if a killed process has not ended yet."""
    for _ in range(100):
        try:
            return h5py.File(path, "r+")
        except BlockingIOError:
            time.sleep(0.05)
    return h5py.File(path, "r+")


def write(folder, number, seed, until):
    writer = Writer(folder, number, seed)
    # On a busy machine a process may start late, so that the loop waits for one commit.
    while time.time() < until or (not writer.committed and time.time() < until + LATE):
        writer.batch()
        if writer.chance.random() < 0.02:
            writer.file.close()
            writer.file = open_again(folder / "a.h5")
    writer.file.close()


def problems(f):
    """Returns the problems in one snapshot."""
    wrong = []
    pairs = f["pairs"][:].reshape(PAIRS, 2)
    if (pairs[:, 0] != pairs[:, 1]).any():
        wrong.append(f"torn: pairs {pairs.tolist()}")
    total = int(f["accounts a"][:].sum() + f["accounts b"][:].sum())
    if total != SUM:
        wrong.append(f"transfers: the sum is {total} and not {SUM}")
    places = tree_of(f)
    if sorted(places) != sorted(["tree", *(f"g{n}" for n in range(GROUPS))]):
        wrong.append(f"moves: the tree has {sorted(places)}")
    names = list(f["set"])
    if sorted(names) != sorted(n[2:] for n in f["set"].attrs):
        wrong.append("sets: links and attributes differ")
    address = lambda one: h5py.h5o.get_info(one.id).addr  # noqa: E731
    users = sorted(address(f[reference]) for reference, _ in f["scale"].attrs.get("REFERENCE_LIST", []))
    if users != sorted(map(address, f["variables"].values())):
        wrong.append(f"scales: the list has {len(users)} of {len(f['variables'])} variables")
    gathered = Counter(name for group in groups_of(f) for name in group)
    if set(gathered.values()) - {1}:
        wrong.append(f"groups: {[n for n, count in gathered.items() if count > 1][:5]} are there twice")
    jobs = Counter([*f["todo"], *(n.split(" ", 1)[1] for n in f["done"])])
    if len(jobs) != JOBS or set(jobs.values()) != {1}:
        wrong.append(f"sets: {JOBS - len(jobs)} jobs are lost, {[j for j, n in jobs.items() if n > 1][:5]} are there twice")
    return wrong


def groups_of(f):
    """Returns the groups that writers add to, at all their names."""
    return [f[at] for at in [f"names/{n}" for n in f["names"] if n.startswith("g")] + [f"shelf/{n}" for n in f["shelf"]]]


def progress(f):
    """Returns the values that must never decrease."""
    return [*(int(n) for n in f["counters"][:]), int(f.attrs["counter"]), len(f["log"]), len(f["done"])]


def read(folder, number, seed, until):
    """Opens or refreshes the file, and checks it."""
    chance, last, wrong = random.Random(seed), None, []
    f = h5py.File(folder / "a.h5", "r")
    while time.time() < until and len(wrong) < 20:
        if chance.random() < 0.5:
            f["log"].refresh()
        else:
            f.close()
            f = h5py.File(folder / "a.h5", "r")
        now, log = progress(f), f["log"][:].tolist()
        if last and (any(a > b for a, b in zip(last[0], now)) or log[:len(last[1])] != last[1]):
            wrong.append(f"reads go back: {last[0]} then {now}")
        last = now, log
        wrong += problems(f)
        time.sleep(chance.uniform(0, 0.05))
    f.close()
    (folder / f"seen-{number}.json").write_text(json.dumps(wrong))


def histories(folder):
    """Returns the changes that must be present, those that may be present, and the number of conflicts."""
    sure, maybe, conflicts = [], [], 0
    for path in sorted(folder.glob("history-*.jsonl")):
        open_batch = None
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                # The process was killed while it wrote the line.
                continue
            if "begin" in entry:
                open_batch = entry["begin"]
            else:
                sure += open_batch if entry["end"] == "ok" else []
                conflicts += entry["end"] != "ok"
                open_batch = None
        maybe += open_batch or []
    return sure, maybe, conflicts


def given_back(kind, there, taken, taken_maybe, back, back_maybe):
    """Checks that each committed value is either present or was released once. Returns the violations."""
    taken, taken_maybe, back_maybe = ({c[0] for c in changes} for changes in (taken, taken_maybe, back_maybe))
    once = {c[0] for c in back}
    lost, strange = taken - there - once - back_maybe, there - taken - taken_maybe
    wrong = [f"{kind}: lost {sorted(lost)[:5]}, not committed {sorted(strange)[:5]}"] if lost or strange else []
    if len(once) != len(back) or once & there:
        wrong.append(f"{kind}: {sorted(once & there)[:5]} are there again, or were given back twice")
    return wrong


def check(folder):
    sure, maybe, conflicts = histories(folder)
    of = lambda kind, changes: [tuple(c[1:]) for c in changes if c[0] == kind]  # noqa: E731
    with h5py.File(folder / "a.h5", "r") as f:
        wrong = problems(f)
        counters = [*f["counters"][:], f.attrs["counter"]]
        for n, value in enumerate(counters):
            low = of("count", sure).count((n,))
            high = low + of("count", maybe).count((n,))
            if not low <= value <= high:
                wrong.append(f"lost update: counter {n} is {value}, {low} to {high} were counted")
        log = Counter(f["log"][:].tolist())
        for value, rows in of("append", sure):
            if log.pop(value, 0) != rows:
                wrong.append(f"lost append: {value}")
        left = set(log.items()) - set(of("append", maybe))
        wrong += [f"appended by nobody, or torn: {sorted(left)[:5]}"] if left else []
        for kind, there in (("add", {int(n) for n in f["set"]}), ("take", {n.split(" ", 1)[1] for n in f["done"]})):
            known = {c[0] for c in of(kind, sure)}
            lost, strange = known - there, there - known - {c[0] for c in of(kind, maybe)}
            if lost or strange or len(known) != len(of(kind, sure)):
                wrong.append(f"{kind}: lost {sorted(lost)[:5]}, not committed {sorted(strange)[:5]}, or done twice")
        there = {int(f[f"names/{n}"][()]) for n in f["names"] if n.startswith("n")}
        wrong += given_back("claim", there, of("claim", sure), of("claim", maybe), of("release", sure), of("release", maybe))
        wrong += given_back("attach", set(f["variables"]), of("attach", sure), of("attach", maybe), of("detach", sure),
                            of("detach", maybe))
        there = {int(name) for group in groups_of(f) for name in group}
        wrong += given_back("gather", there, of("gather", sure), of("gather", maybe), [], [])
        written = {(n, v) for n, v in of("pair", sure + maybe)}
        shown = {(n, int(v)) for n, v in enumerate(f["pairs"][::2]) if v}
        wrong += [f"registers: {sorted(shown - written)} were never committed"] if shown - written else []
    for path in folder.glob("seen-*.json"):
        wrong += [f"a reader: {text}" for text in json.loads(path.read_text())]
    for text in wrong:
        print(text)
    print(f"{len(sure)} changes committed, {len(maybe)} in doubt, {conflicts} conflicts")


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] in ("writer", "reader"):
        {"writer": write, "reader": read}[sys.argv[1]](folder, int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        {"create": create, "check": check}[sys.argv[1]](folder)
