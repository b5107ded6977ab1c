"""Runs programs under one connector. Each of their processes is a fork of this one, which has loaded h5py already. A
request is a line of JSON, {folder, steps, limit}, and so is the answer, {outcomes, ends}: the result of each
step, and how each process ended (0, an exit status, or the negative number of a signal; 'hangs' if it exceeded
the limit)."""

import ast
import json
import os
import signal
import sys
import time
import warnings

import prelude

PROCESS = "--- another process"


def run_step(text, scope):
    """Returns ['ok', result of the last line] or ['error', exception class, message]."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    try:
        exec(compile(tree, "step", "exec"), scope)  # noqa: S102
        value = eval(compile(ast.Expression(last.value), "step", "eval"), scope) if last else None  # noqa: S307
        return ["ok", prelude.show(value)]
    except Exception as error:  # noqa: BLE001 - the outcome is data here
        return ["error", type(error).__name__, str(error)[:300]]


def child(steps, folder, log):
    """Does everything that one process of a program does."""
    os.chdir(folder)
    warnings.simplefilter("ignore")
    scope = {k: v for k, v in vars(prelude).items() if not k.startswith("__")}
    scope["rng"] = prelude.np.random.default_rng
    with open(log, "a") as out:
        for number, text in steps:
            out.write(json.dumps([number, "begun"]) + "\n")
            out.flush()
            out.write(json.dumps([number, run_step(text, scope)]) + "\n")
            out.flush()


def wait(pid, limit):
    """Waits for a process, and returns how it ended."""
    end = time.monotonic() + limit
    pause = 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs"
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def run_program(steps, folder, limit):
    """Returns the outcomes of all steps by number, and the ends of all processes."""
    processes, log, ends = [[]], os.path.join(folder, "outcomes"), []
    for number, text in enumerate(steps):
        processes.append([]) if text == PROCESS else processes[-1].append((number, text))
    for part in processes:
        pid = os.fork()
        if pid == 0:
            null = os.open(os.path.join(folder, "stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(null, 1)
            os.dup2(null, 2)
            child(part, folder, log)
            sys.exit(0)  # ends as a program does: the library's own exit handlers run
        ends.append(wait(pid, limit))
    outcomes = {}
    with open(log) as file:
        for line in file:
            number, outcome = json.loads(line)
            outcomes[number] = outcome
    return outcomes, ends


def main():
    for line in sys.stdin:
        request = json.loads(line)
        outcomes, ends = run_program(request["steps"], request["folder"], request["limit"])
        print(json.dumps({"outcomes": outcomes, "ends": ends}), flush=True)


if __name__ == "__main__":
    main()
