"""Runs test steps: several at a time, each with its counts, its time and its output in one part."""

import collections
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import threading
import time

from . import RESULTS, ROOT
from .results import add_failure, add_times, read_counts, read_failures, write_counts
from .steps import CARGO, ONE

CARGO_RESULT = re.compile(r"^test result: \S+ (\d+) passed; (\d+) failed; (\d+) ignored")
SECONDS_TO_END = 30
# The lines of a failed step's output that its summary repeats.
MARKED_LINES, LAST_LINES = 40, 20


class Extract:
    """The lines of a step's output that explain its failure: those that contain FAILED, and the last ones."""

    def __init__(self):
        self.marked, self.last = [], collections.deque(maxlen=LAST_LINES)

    def add(self, line):
        """Adds the next line of the output."""
        self.last.append(line)
        if "FAILED" in line and len(self.marked) < MARKED_LINES:
            self.marked.append(line)

    def lines(self):
        """Returns the lines, without line ends."""
        return [line.rstrip() for line in [*self.marked, *(line for line in self.last if line not in self.marked)]]


class Lanes:
    """Runs steps, at most `lanes` at a time. With one lane, output appears while a step runs; otherwise when it has ended."""

    def __init__(self, lanes, sample=False):
        self.lanes, self.sample = lanes, sample
        self.results, self.living, self.lock = {}, set(), threading.Lock()
        self.failures = {}

    def run(self, steps):
        """Runs the steps in this order, but each step after those that it needs; all of them even if some fail."""
        waiting, running, ended, names = list(steps), {}, set(), {step.name for step in steps}
        with concurrent.futures.ThreadPoolExecutor(self.lanes) as pool:
            try:
                while waiting or running:
                    ready = [step for step in waiting if not (step.before & names) - ended]
                    if not ready and not running:
                        raise ValueError(f"these steps wait for each other: {', '.join(step.name for step in waiting)}")
                    for step in ready[:self.lanes - len(running)]:
                        waiting.remove(step)
                        running[pool.submit(self.run_step, step)] = step.name
                    for done in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                        ended.add(running.pop(done))
                        done.result()
            except BaseException:
                self.end()
                raise

    def run_step(self, step):
        """Runs one step, which leaves its counts and its time in target/test-results/NAME.xml."""
        output, extract, begun = [], Extract(), time.monotonic()

        def show(text):
            extract.add(text)
            if self.lanes == 1:
                print(text, end="", flush=True)
            else:
                output.append(text)

        commands = step.words(self.sample)
        if self.lanes > 1:
            print(f"... {step.name}", flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{step.name}.xml").unlink(missing_ok=True)
        code, processors, sums = 0, 0, [0, 0, 0]
        for command in commands:
            show(f"\n=== {step.name}: {' '.join(command)}\n")
            code, used = self.run_command(step.name, command, show, sums)
            processors += used
            if code:
                break
        code = self.settle(step, code, sums, show)
        elapsed = time.monotonic() - begun
        add_times(step.name, elapsed, processors)
        self.results[step.name] = (read_counts(step.name), elapsed, processors)
        if code:
            self.failures[step.name] = read_failures(step.name) or extract.lines()
        # A step without a reason for its failure often fails because the disk is full.
        free = shutil.disk_usage(ROOT).free / 1e9
        show(f"--- {step.name}: {elapsed:.0f} s, {processors:.0f} s of processors, exit {code}, {free:.0f} GB free\n")
        with self.lock:
            print("".join(output), end="", flush=True)

    def run_command(self, name, command, show, sums):
        """Runs one command of a step, and adds to the sums of cargo's counts. Returns its exit status and its seconds of
        processors."""
        env = dict(os.environ, H5LAKE_TEST_STEP=name)
        try:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, errors="replace")
        except OSError as error:
            show(f"{command[0]}: {error.strerror}\n")
            return 127, 0
        self.living.add(process)
        for line in process.stdout:
            show(line)
            found = CARGO_RESULT.match(line)
            if found:
                sums[:] = [a + int(b) for a, b in zip(sums, found.groups())]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.living.discard(process)
        return process.returncode, usage.ru_utime + usage.ru_stime

    def settle(self, step, code, sums, show):
        """Makes the exit status of a step agree with the counts that it left. Returns the status."""
        counts = read_counts(step.name)
        if counts is None and step.counts == CARGO and any(sums):
            write_counts(step.name, *sums)
        elif counts is None and step.counts == ONE:
            write_counts(step.name, int(code == 0), int(code != 0))
        elif counts is None:
            show(f"FAILED {step.name}: it left no counts\n")
            add_failure(step.name, f"it left no counts, exit {code}")
            code = code or 1
        failed = read_counts(step.name)["failed"]
        if code and not failed:
            add_failure(step.name, f"exit {code}")  # not a test: a build, a doc test, a crash of the runner
        return code or int(failed > 0)

    def end(self):
        """Ends the running steps by their process ids. An interrupt lets each step stop the servers that it started."""
        for process in list(self.living):
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + SECONDS_TO_END
        while self.living and time.monotonic() < until:
            time.sleep(0.1)
        for process in list(self.living):
            process.kill()


def summary(failures):
    """Returns what failed in each step as lines for users, because the output of a long run is often cut to its end."""
    return [line for name, lines in sorted(failures.items()) for line in [f"\n=== failed in {name}:", *lines]]


def table(results):
    """Returns the results as lines for users, the last of which is 'N passed, N failed, N skipped'. A known failure
    counts as skipped."""
    total = dict(passed=0, failed=0, skipped=0, known=0)
    lines = [f"\n{'step':<24}{'passed':>8}{'failed':>8}{'skipped':>9}{'known':>7}{'elapsed':>9}{'processors':>12}"]
    for name, (counts, elapsed, processors) in sorted(results.items()):
        numbers = "{passed:>8}{failed:>8}{skipped:>9}{known:>7}".format(**counts)
        lines.append(f"{name:<24}{numbers}{elapsed:>9.0f}{processors:>12.0f}")
        total = {key: total[key] + counts[key] for key in total}
    lines.append("{passed} passed, {failed} failed, {skipped} skipped".format(**total))
    return lines, total
