"""Records an operation once and replays it up to each of its system calls, as if the power failed there. Each replay
is repeated with different losses of the disk.

    replay.py CONFIGURATION-AS-JSON          a line of JSON for each state"""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
import operations  # noqa: E402
import points  # noqa: E402
from disk import Disk  # noqa: E402

OPERATIONS = ["create", "replace", "append", "checkpoint", "close"]
CHANGES = {"write", "pwrite64", "writev", "pwritev", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link",
           "linkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "open", "openat", "told"}


def state_of(number):
    """Returns the state of a mark in the journal."""
    return (operations.OLD, number - 100) if number >= 100 else (None, -1) if number < 0 else (operations.NEW, number)


def record(c, operation):
    """Records an operation. Returns (the state of the container before, the disk before, the events)."""
    before, template = points.template_of(c, operation)
    before_it = template or c.work / "nothing"
    for folder in () if template else ("names", "objects"):
        (before_it / folder).mkdir(parents=True)
    disk_of = lambda: Disk(before_it)  # noqa: E731
    inodes = Disk(c.live)
    point = points.Point(c, operation, None, 0)
    c.trap.set()
    child = point.start()
    for _ in child.lines(c.limit):
        pass
    assert child.end() == 0, child.output()
    events = [event for event in c.trap.journal() if event[0] in CHANGES]
    renumbered = {inodes.names[name]: inode for name, inode in disk_of().names.items() if inode is not None}
    return tuple(before) if before else "absent", disk_of, renumbered, events


def allowed(before, events, cut):
    """Returns the states that are allowed after a power loss: from the newest acknowledged commit to the next one."""
    told = [(at, state_of(event[1])) for at, event in enumerate(events) if event[0] == "told"]
    states, certain, upper = [before] + [state for _, state in told], 0, 1
    for number, (at, state) in enumerate(told, 1):
        if at < cut:
            certain = number if state != (None, -1) else certain
            upper = number + 1
    return states[certain:upper + 1]


def states(c, operation, rng):
    before, disk_of, renumbered, events = record(c, operation)
    cuts = list(range(len(events) + 1))
    rng.shuffle(cuts)
    for cut in cuts * c.rounds:
        disk = disk_of()
        for call, result, inode, *rest in events[:cut]:
            disk.take((call, result, renumbered.get(inode, inode), *rest))
        seed = rng.randrange(1 << 40)
        os.chdir("/")
        shutil.rmtree(c.live)
        c.names.mkdir(parents=True), c.objects.mkdir()
        disk.after_power_loss(random.Random(seed), c.live)
        os.chdir(c.names)
        may_be = allowed(before, events, cut)
        found, wrong = c.undisturbed(points.look)
        found = found if wrong or isinstance(found, str) else tuple(found)
        problem = f"cannot be read: {wrong}" if wrong else None if found in may_be else \
            f"{found} is there, and it should be {' or '.join(map(str, may_be))}"
        behind = events[cut - 1] if cut else ("begin", 0, 0, 0, 0, 0, "", b"")
        yield {"operation": operation, "cut": cut, "seed": seed, "behind": f"{behind[0]}({behind[6]})", "problem": problem}


def main():
    points.warm_up()
    c = points.Configuration(json.loads(sys.argv[1]))
    end, rng = time.monotonic() + c.seconds, random.Random(f"{c.seed} {c.name}")
    running = [states(c, operation, rng) for operation in c.operations]
    while running and time.monotonic() < end:
        for one in list(running):
            state = next(one, None)
            if state is None:
                running.remove(one)
            else:
                print(json.dumps({"configuration": c.name, **state}), flush=True)


main()
