"""What a phase is to cost at most beside native HDF5, and whether it does."""

import statistics

# More than native's: processor time as a ratio; bytes of memory, at most and at the end; room as a ratio, after close and meanwhile.
GOALS = {"cpu": 1.05, "rss": 64 << 20, "left": 64 << 20, "room": 1.1, "meanwhile": 1.5}
ROOM_OF_SMALL_FILES = 1.2
# What is too short to be told from noise: seconds, bytes.
LEAST = {"cpu": 0.02, "room": 256 << 10, "meanwhile": 256 << 10}
NAMES = {"cpu": "time", "rss": "memory", "left": "memory at the end", "room": "room", "meanwhile": "room meanwhile"}


def verdict(workload, native, ours):
    """Pairs of medians, native's and ours, and which goals are missed."""
    median = lambda side, name: statistics.median(run[name] for run in side)  # noqa: E731
    values = {name: (median(native, name), median(ours, name)) for name in GOALS}
    missed = [NAMES[name] for name, (theirs, own) in values.items() if own > allowed(workload, name, theirs)]
    return values, missed


def allowed(workload, name, theirs):
    """The most that is allowed of one kind."""
    if name in ("rss", "left"):
        return theirs + GOALS[name]
    if name == "room" and workload == "SmallFiles":
        return theirs * ROOM_OF_SMALL_FILES
    return max(theirs * GOALS[name], theirs + LEAST[name])
