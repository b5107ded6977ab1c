"""The operations that are disturbed. Each is a list of acts. The child reports each acknowledged act and each error
to the parent.

A program that gets an error tries again, as a user would: each act twice, the close more often, and the last time
without disturbance."""

import json
import os
import re

import h5py

import state
from state import NAME

OLD, NEW = "old", "new"
# Words that no error may contain if the container is intact.
NOT_SO = re.compile(r"damaged|panicked|restore it from a copy|not? (?:a|an) h5lake", re.I)
SAYS_LOST = re.compile(r"\b(?:lost|discarded)\b", re.I)


class GivesUp(Exception):
    """An act failed in all of its tries."""


class Program:
    """The program in the child."""

    def __init__(self, trap, to_parent, from_parent):
        self.trap, self.to_parent, self.from_parent, self.file = trap, to_parent, from_parent, None

    def tell(self, **what):
        os.write(self.to_parent, json.dumps(what).encode() + b"\n")

    def act(self, what, how, tries=2, reaches=None):
        """Tries an act. `reaches` is the state of the container after the act is acknowledged."""
        for _ in range(tries):
            self.tell(act=what, tries=reaches)
            try:
                how()
            except Exception as error:  # noqa: BLE001
                self.tell(error=f"{type(error).__name__}: {error}", act=what)
                continue
            self.tell(done=what, reached=reaches)
            if reaches:
                self.trap.tell(reaches[1] if reaches[0] != OLD else 100 + reaches[1])
            return
        raise GivesUp(what)

    def open(self, mode):
        def how():
            self.file = h5py.File(NAME, mode)
        self.act("open", how, reaches=[None, -1] if mode == "w" else None)

    def step(self, made, n, **more):
        self.made, self.n = made, n
        self.act(f"step {n}", lambda: state.step(self.file, made, n, **more))

    def flush(self):
        self.act("flush", self.file.flush, reaches=[self.made, self.n])

    def peer(self, n):
        """Commits from another process, undisturbed."""
        self.tell(peer=n)
        os.read(self.from_parent, 1)

    def close(self, reaches=None):
        try:
            self.act("close", self.file.close, reaches=reaches)
        except GivesUp:
            self.trap.calm()
            self.tell(calm=True)
            self.act("close", self.file.close, tries=3, reaches=reaches)


def create(p):
    p.open("w")
    p.step(NEW, 0)
    p.flush()
    p.step(NEW, 1)


replace = over = create


def append(p):
    p.open("r+")
    p.step(OLD, 4)
    p.flush()
    p.step(OLD, 5)
    p.flush()


def checkpoint(p):
    p.open("r+")
    p.step(OLD, 4, bulk=True)
    p.flush()
    p.step(OLD, 5, bulk=True)
    p.flush()


def close(p):
    p.open("r+")
    p.step(OLD, 4)


def peers(p):
    p.open("r+")
    p.step(OLD, 4)
    p.peer(1)
    p.flush()
    p.peer(2)
    p.step(OLD, 5)


OPERATIONS = {"create": create, "replace": replace, "over": over, "append": append, "checkpoint": checkpoint, "close": close, "peers": peers}


def run(p, name):
    """Runs the child: the operation, and a close in any case."""
    whole = True
    try:
        OPERATIONS[name](p)
    except GivesUp:
        whole = False
        p.tell(gave_up=True)
    if p.file is not None:
        try:
            p.close([p.made, p.n] if whole else None)
        except GivesUp:
            p.tell(never_closed=True)


class Story:
    """The reports of the child, and the states that are allowed afterwards."""

    def __init__(self, before):
        self.allowed = [before]  # from the newest certain state to the newest tried one
        self.errors, self.gave_up, self.never_closed, self.reached_end, self.peers = [], False, False, False, 0

    def hear(self, line):
        said = json.loads(line)
        if said.get("tries") and tuple(said["tries"]) != self.allowed[-1]:
            self.allowed.append(tuple(said["tries"]))
        if said.get("reached") and said["reached"] != [None, -1]:
            # Creating a container is no commit: until the first flush, the earlier content may still be present.
            self.allowed = [tuple(said["reached"])]
        if said.get("done") == "close":
            self.reached_end = True
        if "error" in said:
            self.errors.append(f"{said['act']}: {said['error']}")
        self.gave_up |= "gave_up" in said
        self.never_closed |= "never_closed" in said
        return said

    def said_lost(self):
        return any(SAYS_LOST.search(e) for e in self.errors)

    def wrong_words(self):
        return next((e for e in self.errors if NOT_SO.search(e)), None)


def prepare(name):
    """Makes the container that the operation starts with."""
    if name == "create":
        return None
    if name == "restore":
        with h5py.File(NAME, "w") as f:
            for n in range(KEPT_STATE[1] + 1):
                state.step(f, KEPT_STATE[0], n)
    with h5py.File(NAME, "w") as f:
        for n in range(4):
            state.step(f, OLD, n)
            f.flush()
    if name == "vacuum":
        with h5py.File(NAME, "r+") as f:
            for n in range(6):
                f.create_dataset(f"gone{n}", data=[n] * 20_000)
                f.flush()
            for n in range(6):
                del f[f"gone{n}"]
    return OLD, 3


OLD_STATE = OLD, 3
KEPT_STATE = "kept", 2
# Operations of the tool alone: its arguments, and the state afterwards.
TOOL = {"vacuum": (["vacuum", NAME], OLD_STATE), "restore": (["restore", NAME], KEPT_STATE), "remove": (["rm", NAME], "absent")}
# Containers that have to be retained after each operation, under a name of their own or under the container's name.
KEPT = {"replace": {OLD_STATE}, "restore": {OLD_STATE, KEPT_STATE}, "remove": {OLD_STATE}}
