"""Virtual datasets of native files in stores, on an HDF5 version that treats a source as missing if it does not
open. Since 2.0 this is an error of HDF5's own."""
# store: any
# only: h5lake
# requires: h5py-1.14.4.txt

import contextlib
import os
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, same  # noqa: E402
from web_server import Server  # noqa: E402

MIB = 1 << 20
# The header of the source is behind the first 3 MiB, and is not fetched when the file is opened.
MAKE = """
import h5py, numpy as np
with h5py.File("native-lake/far.h5", "w", meta_block_size=1) as f:
    for name, most, part in (("fixed", 10, slice(None)), ("grows", None, slice(0, h5py.h5s.UNLIMITED))):
        layout = h5py.VirtualLayout((10,), "i8", maxshape=(most,))
        layout[part] = h5py.VirtualSource(".", "far", (10,), maxshape=(most,))[part]
        f.create_virtual_dataset(name, layout, fillvalue=-1)
    layout = h5py.VirtualLayout((10,), "i8")
    layout[:] = h5py.VirtualSource(".", "fixed", (10,))
    f.create_virtual_dataset("inner", layout, fillvalue=-1)
    f["long"] = np.zeros(3 << 17)
    f.create_dataset("far", data=np.arange(12), chunks=(5,), maxshape=(None,))
"""


@contextlib.contextmanager
def serving():
    """Serves the file, and yields its URL. Errors come within seconds."""
    Path("native-lake").mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    subprocess.run([sys.executable, "-c", MAKE], env=env, check=True)
    os.environ |= {"H5LAKE_TIMEOUT": "2s", "H5LAKE_LINKS": "any"}
    with Server("native-lake") as server:
        yield server, f"{server.url}/far.h5"


def fails(function):
    """Checks that a call fails with an error that contains the server's answer."""
    try:
        answer = function()
    except Exception as error:  # noqa: BLE001 - h5py has many classes
        assert "503" in str(error), error
    else:
        raise AssertionError(f"it does not fail: {answer}")


def check_sources_that_the_store_cannot_read_are_not_missing(folder):
    with serving() as (server, name), h5py.File(name) as f:
        fixed, inner = f["fixed"], f["inner"]
        server.tell(fail=[503, MIB])
        for read in (lambda: fixed[:], lambda: inner[2:4], lambda: f["grows"].shape, lambda: f["grows"][:]):
            fails(read)
        server.tell(fail=None)
        same(fixed[:], np.arange(10))
        same(inner[:], np.arange(10))
        same(f["grows"][:], np.arange(12))


def check_containers_lead_to_them(folder):
    with serving() as (server, name):
        with h5py.File("c.h5", "w") as f:
            for source in ("far", "fixed", "inner"):
                layout = h5py.VirtualLayout((10,), "i8")
                layout[:] = h5py.VirtualSource(name, source, (10,))
                f.create_virtual_dataset(source, layout, fillvalue=-2)
                f[f"to {source}"] = h5py.ExternalLink(name, source)
        with h5py.File("c.h5") as f, h5py.File(name):
            read = [f["far"], f["fixed"], f["inner"], f["to fixed"], f["to inner"]]
            server.tell(fail=[503, MIB])
            for dataset in read:
                fails(lambda dataset=dataset: dataset[:])
            server.tell(fail=None)
            for dataset in read:
                same(dataset[:], np.arange(10))


main(globals())
