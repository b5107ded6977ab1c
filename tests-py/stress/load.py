"""Many writers and readers of one file. Prints the findings as one line of JSON. `run` starts this program.

    load.py stress PATH COMMITS       four writers, four readers
    load.py latency PATH FLUSHES      one writer, with and without four readers
    load.py throughput PATH SECONDS   1, 2, 4, 8, 16 writers, each of a dataset of its own"""

import json
import multiprocessing
import os
import statistics
import sys
import time
import zlib

import h5py
import numpy as np

spawn = multiprocessing.get_context("spawn")
WRITERS, READERS = 4, 4
RECORD = np.dtype([("who", "i4"), ("n", "i4"), ("data", "u8", 6), ("crc", "u4")])
SHARED = 1000
FIGHT_EVERY = 25
# The number of seconds after which the test stops as hung.
PATIENCE = 1800


def record(who, n):
    r = np.zeros((), RECORD)
    r["who"], r["n"], r["data"] = who, n, np.random.default_rng((who, n)).integers(1 << 60, size=6)
    r["crc"] = zlib.crc32(r.tobytes()[:-4])
    return r


def is_whole(r):
    return zlib.crc32(r.tobytes()[:-4]) == r["crc"]


def create(path):
    with h5py.File(path, "w") as f:
        for w in range(WRITERS):
            f.create_dataset(f"log {w}", (1,), RECORD, maxshape=(None,), chunks=(500,))
        f.create_dataset("shared", (SHARED,), RECORD, chunks=(300,), compression="gzip", compression_opts=1)
        f.create_dataset("fight", (WRITERS,), "i8", chunks=(WRITERS,))


def write(path, who, commits, barrier, answers):
    """Appends to the writer's own log, and writes every fourth record of a shared dataset. At times it competes with
    its partner for one element: both write after they have seen the same version, so that one of the two must get
    an error."""
    reported, f = 0, h5py.File(path, "r+")
    try:
        for n in range(1, commits + 1):
            log = f[f"log {who}"]
            if n >= log.shape[0]:
                log.resize((n + 1000,))
            log[n] = f["shared"][(n * WRITERS + who) % SHARED] = record(who, n)
            f.flush()
            if n % 50 == 0:
                f.close()
                f = h5py.File(path, "r+")
            if n % FIGHT_EVERY == 0:
                barrier.wait(PATIENCE)
                f["fight"].refresh()
                barrier.wait(PATIENCE)
                f["fight"][who // 2] = n * WRITERS + who
                try:
                    f.flush()
                except RuntimeError as error:
                    if "was changed by another writer" not in str(error):
                        raise
                    reported += 1
        f.close()
        answers.put({"reported": reported})
    except BaseException as error:  # noqa: BLE001 - told to the parent
        answers.put({"error": f"writer {who}: {type(error).__name__}: {error}"})
        raise


def look(f, last):
    """Returns the number of bad records and of logs that lost an entry, in one snapshot."""
    bad = 0
    for w in range(WRITERS):
        log = f[f"log {w}"][1:]
        end = int(np.count_nonzero(log["n"]))
        bad += end < last[w] or not (log["n"][:end] == np.arange(1, end + 1)).all()
        bad += sum(not is_whole(r) for r in log[max(0, end - 20):end])
        last[w] = end
    shared = f["shared"][:]
    return bad + sum(r["n"] != 0 and not is_whole(r) for r in shared)


def read(path, stop, pause, answers):
    opens = failed = torn = 0
    last = [0] * WRITERS
    while not stop.is_set():
        opens += 1
        try:
            f = h5py.File(path, "r")
        except Exception as error:  # noqa: BLE001
            failed += 1
            print(error, file=sys.stderr)
            continue
        with f:
            torn += look(f, last)
        time.sleep(pause)
    answers.put({"opens": opens, "failed": failed, "torn": int(torn)})


def collect(answers, count):
    got = [answers.get(timeout=PATIENCE) for _ in range(count)]
    errors = [a["error"] for a in got if "error" in a]
    if errors:
        sys.exit("; ".join(errors))
    return got


def stress(path, commits):
    create(path)
    stop, written, seen = spawn.Event(), spawn.Queue(), spawn.Queue()
    barriers = [spawn.Barrier(2) for _ in range(WRITERS // 2)]
    readers = [spawn.Process(target=read, args=(path, stop, 0.01, seen)) for _ in range(READERS)]
    writers = [spawn.Process(target=write, args=(path, w, commits, barriers[w // 2], written)) for w in range(WRITERS)]
    begin = time.time()
    for p in readers + writers:
        p.start()
    reported = sum(a["reported"] for a in collect(written, WRITERS))
    seconds = time.time() - begin
    stop.set()
    found = collect(seen, READERS)
    for p in readers + writers:
        p.join(PATIENCE)
    with h5py.File(path, "r") as f:
        lost = 0
        for w in range(WRITERS):
            log = f[f"log {w}"][:commits + 1]
            lost += sum(log[n].tobytes() != record(w, n).tobytes() for n in range(1, commits + 1))
        lost += look(f, [0] * WRITERS)
    return {"commits": WRITERS * commits, "lost": int(lost), "made": commits // FIGHT_EVERY * (WRITERS // 2),
            "reported": reported, "seconds": round(seconds, 1), **{k: sum(a[k] for a in found) for k in found[0]}}


def latency(path, flushes):
    """Returns medians in milliseconds, each of ten times `flushes` flushes, measured in alternating turns."""
    create(path)
    times = {False: [], True: []}
    n = 0
    for turn in range(20):
        busy = turn % 2 == 1
        stop, seen = spawn.Event(), spawn.Queue()
        readers = [spawn.Process(target=read, args=(path, stop, 0.1, seen)) for _ in range(READERS if busy else 0)]
        for p in readers:
            p.start()
        # Starting the readers takes longer than the measured flushes, and must not be measured.
        time.sleep(2 if busy else 0)
        with h5py.File(path, "r+") as f:
            for _ in range(flushes):
                n += 1
                f["log 0"].resize((n + 1,))
                f["log 0"][n] = record(0, n)
                begin = time.perf_counter()
                f.flush()
                times[busy].append(time.perf_counter() - begin)
        stop.set()
        if any(a["failed"] or a["torn"] for a in collect(seen, len(readers))):
            sys.exit("a reader found something wrong")
        for p in readers:
            p.join(PATIENCE)
    alone, with_readers = (1000 * statistics.median(times[busy]) for busy in (False, True))
    return {"alone": round(alone, 4), "with_readers": round(with_readers, 4), "ratio": round(with_readers / alone, 3)}


def commit(path, who, seconds, barrier, answers):
    with h5py.File(path, "r+") as f:
        data = f[f"of {who}"]
        barrier.wait(PATIENCE)
        count, end = 0, time.time() + seconds
        while time.time() < end:
            data[count % 1000] = count
            f.flush()
            count += 1
    answers.put({"count": count})


def throughput(path, seconds):
    """Returns the commits per second of all writers together."""
    out = {}
    for writers in (1, 2, 4, 8, 16):
        with h5py.File(path, "w") as f:
            for w in range(writers):
                f.create_dataset(f"of {w}", (1000,), "i8", chunks=(1000,))
        answers, barrier = spawn.Queue(), spawn.Barrier(writers)
        all_of_them = [spawn.Process(target=commit, args=(path, w, seconds, barrier, answers)) for w in range(writers)]
        for p in all_of_them:
            p.start()
        out[writers] = round(sum(a["count"] for a in collect(answers, writers)) / seconds)
        for p in all_of_them:
            p.join(PATIENCE)
    return out


if __name__ == "__main__":
    os.environ.setdefault("H5LAKE_WRITERS", "many")
    print(json.dumps({"stress": stress, "latency": latency, "throughput": throughput}[sys.argv[1]](
        sys.argv[2], int(sys.argv[3]))))
