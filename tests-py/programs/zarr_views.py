"""Compares the content of a published container in readers of Zarr with the content in h5py, for the programs that
publish."""

import json
import os
import subprocess
from pathlib import Path

import fsspec
import h5py
import numpy as np
import zarr


def run(*arguments, code=0, **more):
    """Runs the tool. Returns its standard output, or its standard error if it has to fail."""
    done = subprocess.run([os.environ["TOOL"], *map(str, arguments)], env={**os.environ, **more}, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def publish(name, refs="refs.json", *more):
    """Publishes, and returns the output of the tool."""
    return json.loads(run("publish", "--json", name, "--kerchunk", refs, *more))


def remote():
    """Returns the options with which fsspec reads from the containers' store."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3")
    return {"s3": {"asynchronous": True, **({"endpoint_url": endpoint} if endpoint else {})}}


def opened(refs="refs.json"):
    """Returns the group that references show."""
    found = json.loads(Path(refs).read_text())["refs"].values() if Path(refs).is_file() else []
    protocol = {value[0].split(":")[0] for value in found if isinstance(value, list)} or {"file"}
    [protocol] = protocol
    options = remote().get(protocol, {})
    fs = fsspec.filesystem("reference", fo=str(refs), asynchronous=True, remote_protocol=protocol, remote_options=options)
    return zarr.open_group(zarr.storage.FsspecStore(fs, read_only=True), mode="r", zarr_format=2)


def shown(dataset):
    """Returns an h5py dataset's elements in the form that Zarr can have."""
    if h5py.check_string_dtype(dataset.dtype) and dataset.dtype.kind == "O":
        data = dataset[()]
        try:
            return np.vectorize(lambda text: text.decode(), otypes=[object])(data) if np.size(data) else np.asarray(data, object)
        except UnicodeDecodeError:
            return np.asarray(data, object)
    return dataset[()]


def is_same(got, wanted, where):
    """Asserts that elements are equal to the bit: NaN to NaN, and members of compounds by their names."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, (where, got.shape, wanted.shape)
    if wanted.dtype.names:
        for name in wanted.dtype.names:
            is_same(got[name], wanted[name], f"{where}.{name}")
    elif wanted.dtype.kind == "O":
        assert got.astype(object).tolist() == wanted.tolist(), where
    elif wanted.dtype.kind == "V":
        assert got.tobytes() == wanted.tobytes(), where
    else:
        assert got.dtype == wanted.dtype or got.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("="), (where, got.dtype, wanted.dtype)
        np.testing.assert_array_equal(got, wanted, err_msg=where)


def datasets(file):
    """Returns each path at which h5py shows a dataset by hard links. Each group is visited once."""
    found, groups = {}, {file.id}

    def look(group, path):
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            member = group[name]
            if isinstance(member, h5py.Dataset):
                found[f"{path}/{name}"] = member
            elif isinstance(member, h5py.Group) and member.id not in groups:
                groups.add(member.id)
                look(member, f"{path}/{name}")

    look(file, "")
    return found


def agrees(name, refs="refs.json", left_out=()):
    """Asserts that references show each dataset that h5py shows, with equal values and attributes, except those left
    out. Returns the number of datasets."""
    group = opened(refs)
    with h5py.File(name, "r") as file:
        all_of = datasets(file)
        for path, dataset in all_of.items():
            if path in left_out:
                continue
            array = group[path.lstrip("/")]
            is_same(array[...], shown(dataset), path)
            for key, value in dataset.attrs.items():
                value = value.decode() if isinstance(value, bytes) else value
                if key in array.attrs:
                    # One element in netCDF is a scalar in Zarr.
                    np.testing.assert_array_equal(np.ravel(array.attrs[key]), np.ravel(value), err_msg=f"{path}@{key}")
    return len(all_of)
