"""Runs one phase of a workload in a process of its own: worker.py MODULE.WORKLOAD PHASE N. Prints one line of JSON.

Without arguments it prints all workloads: name with module and class, phases, and the requirements of the libraries."""

import gc
import importlib
import json
import resource
import sys
import time

from workload import Workload


def every():
    """Returns all workloads."""
    found = {}
    for module in ("array_files", "libraries"):
        for name, kind in vars(importlib.import_module(module)).items():
            if isinstance(kind, type) and issubclass(kind, Workload) and kind is not Workload:
                found[name] = (f"{module}.{name}", kind.phases(), kind.environment)
    return found


def main():
    if len(sys.argv) == 1:
        print(json.dumps(every()))
        return
    workload, phase, n = sys.argv[1:]
    module, name = workload.split(".")
    work = getattr(importlib.import_module(module), name)(int(n))
    begun, cpu = time.perf_counter(), time.process_time()
    found = getattr(work, phase)()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    gc.collect()
    with open("/proc/self/statm") as file:
        left = int(file.read().split()[1]) * resource.getpagesize()
    print(json.dumps({"found": repr(found), "cpu": cpu + children.ru_utime + children.ru_stime, "wall": wall,
                      "rss": max(own.ru_maxrss, children.ru_maxrss) * 1024, "left": left}))


if __name__ == "__main__":
    main()
