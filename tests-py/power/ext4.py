"""A real ext4 in a loop image that is shut down at a call, as in a power loss: nothing reaches the disk any more,
not even the journal. Then the file system is mounted again.

    ext4.py CONFIGURATION-AS-JSON          a line of JSON for each state"""

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
import operations  # noqa: E402
import points  # noqa: E402
import trap  # noqa: E402

SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Image:
    """A new file system for each state."""

    def __init__(self, work, live):
        self.file, self.live = work / "image", live
        self.fresh = work / "fresh"
        with open(self.fresh, "wb") as file:
            file.truncate(48 << 20)
        run("mkfs.ext4", "-q", "-F", self.fresh)

    def mount(self):
        self.live.mkdir(exist_ok=True)
        run("mount", "-o", "loop", self.file, self.live)

    def make(self, template):
        run("cp", "--sparse=always", self.fresh, self.file)
        self.mount()
        if template:
            run("cp", "-a", f"{template}/.", self.live)
        else:
            (self.live / "names").mkdir()
            (self.live / "objects").mkdir()
        run("sync", "-f", self.live)

    def unmount(self):
        os.chdir("/")
        for _ in range(20):
            if subprocess.run(["umount", self.live], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("cannot be unmounted")


def count_calls(c, operation):
    """Returns the template of an operation, and the number of calls that the operation makes."""
    _, template = points.template_of(c, operation)
    calls = points.Point(c, operation, None, 0)
    c.trap.set()
    child = calls.start()
    list(child.lines(c.limit))
    assert child.end() == 0
    os.chdir("/")
    shutil.rmtree(c.live)
    return template, c.trap.calls()


def one_state(c, image, operation, template, number):
    image.make(template)
    try:
        os.chdir(c.names)
        story = operations.Story(operations.OLD_STATE if template else "absent")
        handle = os.open(c.live, os.O_RDONLY)
        c.trap.set()
        control = c.trap.control
        control.fault, control.point, control.faulted = trap.FAULT_IOCTL_BEFORE, number, trap.bits(trap.KINDS[1:])
        control.ioctl_fd, control.ioctl_request, control.ioctl_argument = handle, SHUTDOWN, NO_LOG_FLUSH
        child = points.Point(c, operation, None, 0).start()
        for line in child.lines(c.limit):
            story.hear(line)
        child.end()
        hit = c.trap.hit()
        if not hit:
            fcntl.ioctl(handle, SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        os.close(handle)
    finally:
        image.unmount()
    image.mount()
    try:
        os.chdir(c.names)
        may_be = list(story.allowed)
        if (None, -1) in may_be[:1]:
            # Creating a container is no commit.
            may_be.append("absent" if not template else operations.OLD_STATE)
        found, wrong = c.undisturbed(points.look)
    finally:
        image.unmount()
    found = found if wrong or isinstance(found, str) else tuple(found)
    problem = f"cannot be read: {wrong}" if wrong else None if found in may_be else \
        f"{found} is there, and it should be {' or '.join(map(str, may_be))}"
    return {"operation": operation, "cut": number, "seed": 0, "behind": hit[2] if hit else "the end", "problem": problem}


def main():
    points.warm_up()
    c = points.Configuration(json.loads(sys.argv[1]))
    end, rng = time.monotonic() + c.seconds, random.Random(f"{c.seed} {c.name}")
    described = {operation: count_calls(c, operation) for operation in c.operations}
    waiting = [(operation, number) for operation, (_, calls) in described.items()
               for number, (kind, _) in enumerate(calls) if kind != "read"]
    rng.shuffle(waiting)
    image = Image(c.work, c.live)
    for operation, number in waiting:
        if time.monotonic() > end:
            break
        state = one_state(c, image, operation, described[operation][0], number)
        print(json.dumps({"configuration": c.name, **state}), flush=True)


main()
