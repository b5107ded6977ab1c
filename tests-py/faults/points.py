"""Runs points: an operation, a fault, and the number of the call that it affects. There is one process for each
configuration. Each point forks a child that is disturbed, and then undisturbed ones that check the resulting
files.

    points.py CONFIGURATION-AS-JSON          a line of JSON for each point"""

import ctypes
import gc
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import h5py

import operations
import state
from operations import OPERATIONS, Story
from state import NAME
from trap import FAULTS, KILLS, Trap

# The objects of a container that docs/format.md lists, and their folders, but no lease, queued commit or journal.
OBJECT = r"(/([0-9a-f]{16}-[0-9a-f]+|queue|manifest(/[0-9a-f]{16})?))?"
KNOWN_OBJECT = re.compile(re.escape(NAME) + rf"(\.lake(/[0-9a-f]{{32}}{OBJECT}|/replaced(/[0-9a-f]{{32}}-[0-9a-f]+)?|/clock(/[0-9a-f]{{32}})?)?)?$"
                          r"|\.object-store(/locks(/..)?|/tmp|/reserve)?$")


# A user who owns no files.
NOBODY = 65534
# Hidden files of a replacement that was killed before the new container had its name; they are removed after a day.
HIDDEN = re.compile(re.escape(f".{NAME}.h5lake-") + r"repla(ced|cing)-[0-9a-f]{32}-[0-9a-f]+$")


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Child:
    """A forked function. It reports through a pipe, and its output is in a file."""

    def __init__(self, function, printed):
        self.printed = printed
        reading, writing = os.pipe()
        answers, self.answer = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writing)
            os.close(answers)
            self.pipe, self.rest = reading, b""
            return
        try:
            die_with_parent()
            os.close(reading)
            os.close(self.answer)
            output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            function(writing, answers)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)

    def lines(self, limit, meanwhile=None):
        """Yields the lines of the child's report until it ends. Raises TimeoutError if that takes too long."""
        until = time.monotonic() + limit
        while True:
            if select.select([self.pipe], [], [], 0.002 if meanwhile else 0.2)[0]:
                data = os.read(self.pipe, 1 << 16)
                if not data:
                    return
                *whole, self.rest = (self.rest + data).split(b"\n")
                yield from whole
            elif time.monotonic() > until:
                raise TimeoutError
            elif meanwhile:
                meanwhile()  # all earlier reports are known

    def end(self):
        """Returns the exit status, which is negative for a signal."""
        os.close(self.pipe)
        os.close(self.answer)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def output(self):
        return Path(self.printed).read_text(errors="replace")


class Configuration:
    def __init__(self, described):
        self.__dict__.update(described)
        self.work = Path(self.work)
        self.live, self.templates = self.work / "live", self.work / "templates"
        self.names, self.objects = self.live / "names", self.live / "objects"
        self.trap = Trap(self.library, self.live, getattr(self, "journal", 0))

    def place(self, template):
        """Puts the containers into the state that the operation starts with."""
        os.chdir("/")
        shutil.rmtree(self.live, ignore_errors=True)
        if template:
            subprocess.run(["cp", "-a", template, self.live], check=True)
        else:
            self.names.mkdir(parents=True)
            self.objects.mkdir()
        os.chdir(self.names)

    def undisturbed(self, function, *arguments):
        """Runs a function in a child. Returns (its result, None), or (None, the error)."""
        def inside(writing, _):
            try:
                result = function(*arguments), None
            except BaseException as error:  # noqa: BLE001
                result = None, f"{type(error).__name__}: {error}"
            os.write(writing, json.dumps(result).encode() + b"\n")
        child = Child(inside, self.work / "other.txt")
        try:
            said = [json.loads(line) for line in child.lines(self.limit)]
        except TimeoutError:
            os.kill(child.pid, signal.SIGKILL)
            child.end()
            return None, f"no answer within {self.limit} s"
        code = child.end()
        if code or not said:
            return None, f"exit {code}: {child.output()[-300:]}"
        return tuple(said[0])


def look():
    """Returns the state that an undisturbed reader finds: 'absent', a state, or an error."""
    if not os.path.exists(NAME):
        return "absent"
    with h5py.File(NAME, "r") as f:
        try:
            return list(state.look(f))
        except state.Mixed as error:
            state.read_all(f)
            return f"mixed: {error}"


def look_for_peers():
    with h5py.File(NAME, "r") as f:
        return [int(name[4:]) for name in f.attrs if name.startswith("peer")]


def look_at_kept(tool):
    """Returns the states of the kept containers by the names that the tool lists; each container has one name."""
    listed = subprocess.run([tool, "versions", "--json", NAME], stdout=subprocess.PIPE, check=True).stdout
    names = [kept["name"] for kept in json.loads(listed)["replaced"]]
    found = []
    for name in names:
        with h5py.File(f"{NAME}@replaced={name}", "r") as f:
            found.append(list(state.look(f)))
    assert len(set(names)) == len(names), f"a name is listed twice: {names}"
    return found


def commit_as_peer(n):
    with h5py.File(NAME, "r+") as f:
        f.attrs[f"peer{n}"] = n


def write_on(found):
    """Acts as the next writer: continues from the present state, or creates the container again."""
    if found == "absent" or found[0] is None:
        with h5py.File(NAME, "w") as f:
            state.step(f, "next", 0)
        return ["next", 0]
    with h5py.File(NAME, "r+") as f:
        state.step(f, found[0], found[1] + 1)
    return [found[0], found[1] + 1]


def close_folder():
    """Makes the current folder unwritable, and leaves the container's file writable."""
    os.chmod(NAME, 0o666)
    os.chmod(".", 0o555)
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        open("probe", "w").close()
    except PermissionError:
        return
    raise AssertionError("the folder can be written all the same")


class Point:
    """One run. `problems` lists its problems."""

    def __init__(self, configuration, operation, fault, number):
        self.configuration, self.operation, self.fault, self.number = configuration, operation, fault, number
        self.problems, self.hit, self.readings = [], None, 0

    def child(self, writing, answers):
        c = self.configuration
        program = operations.Program(c.trap, writing, answers)
        if self.operation == "over":
            close_folder()
        c.trap.arm()
        operations.run(program, self.operation)

    def start(self):
        c = self.configuration
        if self.operation not in operations.TOOL:
            return Child(self.child, c.work / "child.txt")

        def tool(writing, _):
            for kept in (c.trap.fd, writing):
                os.set_inheritable(kept, True)
            os.execve(c.cli, [c.cli, *operations.TOOL[self.operation][0]],
                      {**os.environ, "LD_PRELOAD": c.trap.path, "TRAP_DESCRIPTOR": str(c.trap.fd)})
        return Child(tool, c.work / "child.txt")

    def run(self):
        c = self.configuration
        template = c.templates / self.operation
        before = (tuple(operations.OLD_STATE) if template.exists() else "absent")
        c.place(template if template.exists() else None)
        self.story = story = Story(before)
        if self.operation in operations.TOOL:
            story.allowed.append(operations.TOOL[self.operation][1])
        c.trap.set(self.fault, self.number)
        child = self.start()
        try:
            for line in child.lines(c.limit, self.read_meanwhile if self.fault == "reader" else None):
                said = story.hear(line)
                if "peer" in said:
                    self.commit_of_peer(said["peer"])
                    os.write(child.answer, b".")
        except TimeoutError:
            self.problems.append(f"hangs: no end within {c.limit} s")
            os.kill(child.pid, signal.SIGKILL)
        self.code = child.end()
        os.chmod(c.names, 0o755)
        self.output = child.output()
        self.hit = c.trap.hit()
        if self.fault is None or self.hit:
            self.judge()
        return self

    def commit_of_peer(self, n):
        _, wrong = self.configuration.undisturbed(commit_as_peer, n)
        if wrong:
            self.problems.append(f"another writer is refused: {wrong}")
        else:
            self.story.peers = n

    def read_meanwhile(self):
        control = self.configuration.trap.control
        if control.paused:
            self.readings += 1
            found, wrong = self.configuration.undisturbed(look)
            if wrong:
                self.problems.append(f"a reader meanwhile: {wrong}")
            else:
                self.judge_state(found, "a reader meanwhile: ")
            control.paused = 0

    def judge_state(self, found, who="", exact=False):
        allowed = self.story.allowed
        as_state = found if isinstance(found, str) else tuple(found)
        if as_state in allowed:
            return
        if isinstance(found, str) and found.startswith("mixed"):
            if not self.story.gave_up:
                self.problems.append(f"{who}half a step is there: {found}")
            return
        if len(allowed) == 1 and self.story.said_lost():
            return
        self.problems.append(f"{who}{found} is there, and it should be {' or '.join(map(str, allowed))}")

    def judge(self):
        story, c = self.story, self.configuration
        hung = any(p.startswith("hangs") for p in self.problems)
        if self.code < 0 and not hung and not (self.fault in KILLS and self.code == -signal.SIGKILL):
            self.problems.append(f"crashed by {signal.Signals(-self.code).name}: {self.output[-300:]}")
        elif self.operation in operations.TOOL:
            story.reached_end = True
            if self.code == 0:
                story.allowed = story.allowed[-1:]
            if self.code not in (0, -signal.SIGKILL):
                story.errors.append(f"{self.operation}: " + self.output.strip()[-300:])
        elif self.code > 0:
            self.problems.append(f"the program failed: {self.output[-300:]}")
        if "panicked" in self.output:
            self.problems.append(f"panics: {self.output[-300:]}")
        if story.wrong_words():
            self.problems.append(f"says what is not so: {story.wrong_words()}")
        if story.never_closed and not story.said_lost():
            self.problems.append(f"cannot be closed although nothing fails any more: {story.errors[-1]}")
        found, wrong = c.undisturbed(look)
        if wrong:
            self.problems.append(f"cannot be read afterwards: {wrong}")
            return
        self.judge_state(found)
        if c.name.endswith("-kept"):
            self.judge_kept(found)
        if story.peers:
            there, wrong = c.undisturbed(look_for_peers)
            if wrong or len(there) < story.peers:
                self.problems.append(f"what another writer committed is gone: {wrong or there}")
        self.go_on(found)

    def judge_kept(self, found):
        """Checks that no container that has to be retained is lost."""
        kept, wrong = self.configuration.undisturbed(look_at_kept, str(self.configuration.cli))
        if wrong:
            self.problems.append(f"what is kept cannot be read: {wrong}")
            return
        there = {tuple(state) for state in [*kept, found] if not isinstance(state, str)}
        lost = operations.KEPT[self.operation] - there
        if lost:
            self.problems.append(f"lost, although it is to be kept: {lost}; there are {there}")

    def go_on(self, found):
        """Checks that the next writer can continue, and that it removes leftover files."""
        c = self.configuration
        if isinstance(found, str) and found.startswith("mixed"):
            return
        wanted, wrong = c.undisturbed(write_on, found)
        if wrong:
            self.problems.append(f"the next writer fails: {wrong}")
            return
        after, wrong = c.undisturbed(look)
        if after != wanted:
            self.problems.append(f"after the next writer: {wrong or after}, and it should be {wanted}")
        left = sorted(p for p in os.listdir(c.names) if p != NAME)
        if c.name.endswith("-kept"):
            left = [p for p in left if not HIDDEN.match(p)]
            aliases = [p for p in os.listdir(c.names) if os.stat(c.names / p).st_nlink > 1]
            if aliases:
                self.problems.append(f"two names of one file: {aliases}")
        left += sorted(str(p.relative_to(c.objects)) for p in c.objects.rglob("*")
                       if not KNOWN_OBJECT.match(str(p.relative_to(c.objects))))
        if left:
            self.problems.append(f"left behind: {', '.join(left[:4])}")


def template_of(c, operation):
    """Returns (the state that the operation starts with, the folder of the template). Both are None for an operation
    without a container. The containers are in place."""
    c.place(None)
    before, wrong = c.undisturbed(operations.prepare, operation)
    assert not wrong, f"{c.name} {operation}: {wrong}"
    if not before:
        return None, None
    template = c.templates / operation
    os.chdir("/")
    c.templates.mkdir(exist_ok=True)
    shutil.copytree(c.live, template, symlinks=True)
    c.place(template)
    return before, template


def prepare(c, operation):
    """Makes the template of an operation, and returns its calls without a fault."""
    template_of(c, operation)
    point = Point(c, operation, None, 0).run()
    assert not point.problems and not point.story.errors, \
        f"{c.name} {operation}, undisturbed: {point.problems} {point.story.errors} {point.output}"
    return c.trap.calls()


def all_points(calls, operation, rng):
    """Returns every point of an operation, in an order in which the first points have each fault at each kind of
    call."""
    groups = {}
    for number, (kind, _) in enumerate(calls):
        for fault, (*_, kinds) in FAULTS.items():
            if kind in kinds and not (operation in operations.TOOL and fault == "reader" and kind == "lock"):
                groups.setdefault((fault, kind), []).append((operation, fault, number))
    for group in groups.values():
        rng.shuffle(group)
    return groups


def interleaved(groups, rng):
    lists = list(groups.values())
    rng.shuffle(lists)
    for turn in range(max(map(len, lists), default=0)):
        for group in lists:
            if turn < len(group):
                yield group[turn]


def chosen(c):
    rng, groups, total = random.Random(f"{c.seed} {c.name}"), {}, 0
    for operation in c.operations:
        calls = prepare(c, operation)
        if c.show:
            for number, (kind, line) in enumerate(calls):
                print(json.dumps({"call": f"{c.name}/{operation} {number} {kind}: {line}"}), flush=True)
            continue
        total += len(calls)
        groups.update({(operation, *key): group for key, group in all_points(calls, operation, rng).items()})
    points = list(interleaved(groups, rng))
    wanted = [tuple(only) for only in c.only]
    if wanted:
        points = [p for p in points if any(all(w in ("", str(v)) for w, v in zip(only, p)) for only in wanted)]
    return points


def warm_up():
    """Makes Python load everything that is loaded on first use, so that no child has to."""
    state.content("", 2), state.equal([0], [0], ""), "é".encode("utf-8", "surrogateescape")
    h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    gc.collect()
    gc.freeze()


def main():
    warm_up()
    c = Configuration(json.loads(sys.argv[1]))
    end = time.monotonic() + c.seconds if c.seconds else None
    points = chosen(c)
    print(json.dumps({"points": len(points), "configuration": c.name}), flush=True)
    for operation, fault, number in points[:c.points or None]:
        if end and time.monotonic() > end:
            break
        point = Point(c, operation, fault, number).run()
        print(json.dumps({"configuration": c.name, "operation": operation, "fault": fault, "number": number, "hit": point.hit,
                          "errors": point.story.errors, "problems": point.problems}), flush=True)


if __name__ == "__main__":
    main()
