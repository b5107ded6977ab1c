"""Copies that are killed continue when they are started again: data that had arrived is not sent again, and the copy
is complete."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake retention=1h"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from cases import bytes_in, files_in, is_container, killed_midway, main  # noqa: E402
from tool import run  # noqa: E402

MIB = 1 << 20
#: The size of the source, in chunks of a mebibyte.
SIZE = 160 * MIB
#: The loss that a kill may cause: packs under way, the open part of the journal, and the data that is read at once.
MAX_LOSS = 8 * 8 * MIB + 2 * 16 * MIB


def copy(*arguments):
    return json.loads(run("copy", "--json", *arguments))


def make(name, size=SIZE):
    with h5py.File(name, "w") as f:
        shape = (size // MIB, MIB)
        data = np.random.default_rng(1).integers(0, 256, shape, dtype="u1")
        f.create_dataset("grid", data=data, chunks=(1, MIB))
        f.create_dataset("packed", data=np.arange(90_000).reshape(300, 300), chunks=(30, 300), compression="gzip")
        f.create_dataset("texts", data=[f"text {n} " * 40 for n in range(500)], dtype=h5py.string_dtype())
        f["group/inner"] = 1
        f["group"].attrs["table"] = np.arange(9000)
        # Enough datasets that the log of the copy is folded, and payloads of a length that is stored in log objects.
        for n in range(2000):
            f[f"many/{n}"] = np.full(30, n)
        for n in range(12):
            f[f"middle/{n}"] = np.full(2500, n)


def look(source, target):
    """Checks that a copy equals its source, is complete, and has one version."""
    run("diff", "--storage", source, target)
    assert "leftover" not in run("verify", target)
    assert len(json.loads(run("versions", "--json", target))["versions"]) == 1


def begin(source, target):
    # A shell that starts this program in the background sets SIGINT to be ignored, and the tool would inherit that.
    command = ["env", "--default-signal=INT", os.environ["TOOL"], "copy", "--quiet", source, target]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def kill(source, target, place, more, how=signal.SIGKILL):
    """Kills a copy when it has written `more` additional bytes. Returns whether it was still under way."""
    return killed_midway(lambda: begin(source, target), place, more, partial(is_container, target), how)


def forget(place):
    """Deletes the files of a folder, and the retained data of a replaced container in it."""
    for path in files_in(place):
        path.unlink()


def is_payload(name):
    """Returns whether a file has the name of an object that a session writes once: its payloads and pages."""
    return re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", name) is not None


def packs(place):
    return {path: what for path, what in files_in(place).items() if is_payload(path.name)}


def sources(folder):
    """Returns the names of a source in a file and in a store."""
    for source in ("a.h5", f"file://{folder}/sources/a.h5"):
        make(source)
        yield source


def check_a_killed_copy_into_a_store_goes_on(folder):
    for source in sources(folder):
        for n, (more, how) in enumerate([(100, signal.SIGKILL), (120, signal.SIGINT), (140, signal.SIGKILL)]):
            place, target = f"store{n}", f"file://{folder}/store{n}/b.h5"
            before = time.time()
            while not kill(source, target, place, more * MIB, how):
                assert time.time() < before + 60, "it always ends before it can be killed"
                run("rm", target)
                forget(place)
            run("ls", target, code=1)
            arrived = packs(place)
            done = copy(source, target)
            # Data that is stored inline in the map is not counted as payload.
            assert done["bytes"] + done["continued"] >= SIZE and done["begun_anew"] is None, done
            assert done["continued"] >= more * MIB - MAX_LOSS, (more, done)
            # The report is correct: packs that had arrived are still the same files.
            kept = sum(size for path, (size, when) in arrived.items() if packs(place).get(path) == (size, when))
            assert kept >= done["continued"], (kept, done)
            assert bytes_in(place) < SIZE + 16 * MIB, "something is there twice"
            assert not [path for path in files_in(place) if "copy" in path.parts], "the journal is left"
            look(source, target)
            forget(place)
        run("rm", source)


def check_a_killed_copy_into_a_file_goes_on(folder):
    os.mkdir("files")
    for source in sources(folder):
        for more, how in [(60, signal.SIGKILL), (120, signal.SIGINT)]:
            while not kill(source, "files/b.h5", "files", more * MIB, how):
                run("rm", "files/b.h5")
                forget("files")
            assert not Path("files/b.h5").exists()
            done = copy(source, "files/b.h5")
            assert done["continued"] >= (more - 64) * MIB and done["begun_anew"] is None, (more, done)
            assert done["bytes"] + done["continued"] >= SIZE, done
            assert [path.name for path in files_in("files") if "replaced" not in path.name] == ["b.h5"]
            assert Path("files/b.h5").stat().st_size < SIZE + 16 * MIB
            look(source, "files/b.h5")
            forget("files")
        run("rm", source)


def check_a_copy_that_is_killed_again_and_again_ends(folder):
    make("a.h5")
    os.mkdir("files")
    for place, target in (("store", f"file://{folder}/store/b.h5"), ("files", "files/b.h5")):
        tries = 0
        while kill("a.h5", target, place, 40 * MIB):
            tries += 1
            assert tries < 60
        if any("copy" in path.parts or "copy" in path.suffix for path in files_in(place)):
            # The copy was killed after its last step. Its temporary files then stay for a day, and the target is
            # complete.
            run("diff", "--storage", "a.h5", target)
            continue
        look("a.h5", target)
        # Each kill may leave packs that had arrived and that no journal names yet, and more of them on a busy machine.
        more = bytes_in(place) - SIZE
        assert more < SIZE // 2, f"something is there twice: {more} bytes more after {tries} kills"


def check_another_version_begins_anew(folder):
    make("a.h5")
    os.mkdir("files")
    for place, target in (("store", f"file://{folder}/store/b.h5"), ("files", "files/b.h5")):
        while not kill("a.h5", target, place, 100 * MIB):
            run("rm", target)
            forget(place)
        with h5py.File("a.h5", "r+") as f:
            f["grid"][3] = 7
        text = run("copy", "a.h5", target)
        assert "begun anew, because an earlier try was of another version or container" in text, text
        look("a.h5", target)
        assert bytes_in(place) < SIZE + 16 * MIB, "the earlier try is left"


def check_one_copy_at_a_time(folder):
    make("a.h5")
    os.mkdir("files")
    for place, target in (("store", f"file://{folder}/store/b.h5"), ("files", "files/b.h5")):
        process = begin("a.h5", target)
        while bytes_in(place) < 60 * MIB and process.poll() is None:
            time.sleep(0.001)
        text = run("copy", "a.h5", target, code=1)
        # The first copy may have ended meanwhile.
        assert any(words in text for words in ("is open for writing", "something is there", "already exists")), text
        assert process.wait() == 0
        look("a.h5", target)


def check_a_short_copy_leaves_no_journal(folder):
    make("small.h5", 8 * MIB)
    run("copy", "small.h5", f"file://{folder}/store/b.h5")
    assert not [path for path in files_in("store") if "copy" in path.parts]
    done = copy("small.h5", "c.h5")
    assert (done["continued"], done["begun_anew"]) == (0, None)
    assert "continued" not in run("copy", "small.h5", "d.h5")


if __name__ == "__main__":
    main(globals())
