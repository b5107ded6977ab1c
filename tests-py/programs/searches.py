"""h5lake filter on the store of the test run: it finds the same elements as NumPy. A store server that promises
filters, such as dataClay's adapter, compares the elements, and at most a tenth of the bytes are transferred."""
# only: h5lake
# needs: tool

import json
import os
import subprocess

import h5py
import numpy as np
from cases import main

RNG = np.random.default_rng(5)


def search(path, expression, *more):
    env = {k: v for k, v in os.environ.items() if k != "HDF5_VOL_CONNECTOR"}
    done = subprocess.run([os.environ["TOOL"], "filter", "--json", *more, "searched.h5", path, expression], env=env,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_matches_are_those_of_numpy(folder):
    scattered, clustered = RNG.random(1 << 19), np.sort(RNG.integers(0, 1 << 40, 1 << 19))
    scattered[RNG.integers(0, len(scattered), 300)] += 1
    with h5py.File("searched.h5", "w") as f:
        f.create_dataset("scattered", data=scattered, chunks=(1 << 14,))
        f.create_dataset("clustered", data=clustered, chunks=(1 << 14,))
        f.create_dataset("packed", data=scattered, chunks=(1 << 14,), compression="gzip")
    filters = "h5store+" in os.environ.get("HDF5_VOL_CONNECTOR", "")
    low, high = clustered[1000], clustered[1100]
    for path, data, expression, wanted in [
            ("scattered", scattered, "x > 1", scattered > 1),
            ("packed", scattered, "x > 1", scattered > 1),
            ("clustered", clustered, f"{low} <= x < {high}", (clustered >= low) & (clustered < high))]:
        told = search(path, expression)
        assert [m["index"][0] for m in told["matches"]] == np.flatnonzero(wanted).tolist(), path
        assert [m["value"] for m in told["matches"]] == data[wanted].tolist(), path
        assert search(path, expression, "--local")["matches"] == told["matches"], path
        assert (told["chunks"]["searched"] > 0) == (filters and path != "packed"), told["chunks"]
        if filters and path != "packed" or path == "clustered":
            assert 10 * told["bytes"]["read"] < told["bytes"]["stored"], (path, told["bytes"])


main(globals())
