"""Old versions of a container, by number and by time. Native HDF5 has none."""
# only: h5lake

import errno
import os
import subprocess
import sys
import time
from datetime import datetime, timezone

os.environ["H5LAKE_RETENTION"] = "1h"  # read when HDF5 starts
import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, raises  # noqa: E402

NAME = "a.h5"
STEPS = 30


def grow(name=NAME):
    """Creates a file in which each flush is a distinguishable version. Returns the time when each version was
    complete."""
    times = []
    with h5py.File(name, "w") as f:
        d = f.create_dataset("x", (0, 1000), maxshape=(None, 1000), dtype="i4", chunks=(4, 1000), compression="lzf")
        for n in range(STEPS):
            d.resize(n + 1, axis=0)
            d[:] = n
            f.attrs["n"] = n
            f.create_group(f"g{n}")
            if n:
                del f[f"g{n - 1}"]
            f.flush()
            times.append(datetime.now(timezone.utc))
            time.sleep(0.003)
    return times


def look(f, n):
    assert f.attrs["n"] == n and list(f) == [f"g{n}", "x"], (n, dict(f.attrs), list(f))
    assert f["x"].shape == (n + 1, 1000) and np.all(f["x"][:] == n)


def check_by_number(folder):
    grow()
    # Creating the file made version 1, and closing it changed nothing.
    for n in range(STEPS):
        with h5py.File(f"{NAME}@v={n + 2}", "r") as f:
            look(f, n)
    with h5py.File(NAME, "r") as new, h5py.File(f"{NAME}@v=9", "r") as old:
        look(new, STEPS - 1)
        look(old, 7)
        old["x"].refresh()
        look(old, 7)
        assert new["x"] != old["x"]


def check_by_time(folder):
    for n, when in enumerate(grow()):
        with h5py.File(f"{NAME}@t={when:%Y-%m-%dT%H:%M:%S.%fZ}", "r") as f:
            look(f, n)


def check_while_it_is_written(folder):
    grow()
    with h5py.File(NAME, "r+") as f:
        f["x"][:] = -1
        f.flush()
        with h5py.File(f"{NAME}@v=5", "r") as old:
            for _ in range(20):
                f["x"][:] += 1
                f.flush()
            look(old, 3)


def check_settings(folder):
    when = grow()[11]
    code = f"import h5py; f = h5py.File('{NAME}', 'r'); print(f.attrs['n'])"
    for setting in ("version=13", f"as_of={when:%Y-%m-%dT%H:%M:%S.%fZ}"):
        env = {**os.environ, "HDF5_VOL_CONNECTOR": os.environ["HDF5_VOL_CONNECTOR"] + " " + setting}
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert run.stdout.strip() == "11", run
        # The setting does not apply to files that are created or opened for writing.
        made = "import h5py; f = h5py.File('new.h5', 'w'); f['y'] = 1; f.close(); f = h5py.File('new.h5', 'r+')"
        assert subprocess.run([sys.executable, "-c", made], env=env).returncode == 0


def check_nothing_old_is_written(folder):
    grow()
    for mode in ("r+", "a", "w", "x"):
        error = raises(OSError, h5py.File, f"{NAME}@v=3", mode)
        assert error.errno == errno.EROFS and "version 3" in str(error), error
    with h5py.File(f"{NAME}@v=3", "r") as f:
        error = raises(ValueError, f.create_group, "new")
        assert "no write intent" in str(error), error
    with h5py.File(NAME, "r") as f:
        look(f, STEPS - 1)


def check_what_is_not_kept(folder):
    grow()
    for name in (f"{NAME}@v=4000", f"{NAME}@t=2001-01-01"):
        error = raises(OSError, h5py.File, name, "r")
        assert f"versions are 1 to {STEPS + 1}," in str(error), error
    error = raises(OSError, h5py.File, f"{NAME}@t=soon", "r")
    assert "soon" in str(error), error


def check_a_file_of_that_very_name(folder):
    grow()
    with h5py.File("b.h5@v=1", "w") as f:
        f["mine"] = 1
    with h5py.File("b.h5", "w") as f:
        f["yours"] = 1
    with h5py.File("b.h5@v=1", "r") as f:
        assert list(f) == ["mine"]


def check_an_external_link_into_the_past(folder):
    grow()
    with h5py.File("links.h5", "w") as f:
        f["then"] = h5py.ExternalLink(f"{NAME}@v=6", "/x")
        f["now"] = h5py.ExternalLink(NAME, "/x")
    with h5py.File("links.h5", "r") as f:
        assert f["then"].shape == (5, 1000) and f["now"].shape == (STEPS, 1000)


main(globals())
