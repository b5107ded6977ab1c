"""The maximum cost of a phase relative to native HDF5, and whether a run stays within it."""

import statistics

# Limits relative to native HDF5: processor time as a ratio; bytes of memory, at the peak and at the end; file space as
# a ratio, after the close and meanwhile.
GOALS = {"cpu": 1.05, "rss": 64 << 20, "left": 64 << 20, "room": 1.1, "meanwhile": 1.5}
ROOM_OF_SMALL_FILES = 1.2
# Values too small to be distinguished from noise: seconds, bytes.
LEAST = {"cpu": 0.02, "room": 256 << 10, "meanwhile": 256 << 10}
NAMES = {"cpu": "time", "rss": "memory", "left": "memory at the end", "room": "disk space",
         "meanwhile": "disk space during the phase"}


def verdict(workload, native, ours):
    """Returns the pairs of medians, native's and ours, and the goals that are missed."""
    median = lambda side, name: statistics.median(run[name] for run in side)  # noqa: E731
    values = {name: (median(native, name), median(ours, name)) for name in GOALS}
    missed = [NAMES[name] for name, (theirs, own) in values.items() if own > allowed(workload, name, theirs)]
    return values, missed


def allowed(workload, name, theirs):
    """Returns the limit for one kind of cost."""
    if name in ("rss", "left"):
        return theirs + GOALS[name]
    if name == "room" and workload == "SmallFiles":
        return theirs * ROOM_OF_SMALL_FILES
    return max(theirs * GOALS[name], theirs + LEAST[name])
