"""An image archive in HDF5: plain h5py, which knows of no connector.

    archive.py write PHOTOGRAPHS FILE
    archive.py check PHOTOGRAPHS FILE     compares every pixel with the photographs
"""

import sys
from pathlib import Path

import h5py
import imageio.v3 as iio
import numpy as np

COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}
CONTENTS = np.dtype([("name", "S32"), ("height", "<u4"), ("width", "<u4"), ("channels", "u1"), ("bytes", "<u8")])


def photographs(folder):
    """Returns (name, path, pixels) of every picture in a folder."""
    for path in sorted(Path(folder).iterdir()):
        if path.suffix in (".png", ".jpg"):
            yield path.stem, path, iio.imread(path)


def add(album, name, path, pixels):
    """Adds one photograph with its metadata, and a thumbnail of every eighth pixel."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    tile = (min(256, pixels.shape[0]), min(256, pixels.shape[1])) + pixels.shape[2:]
    group = album.create_group(name)
    image = group.create_dataset("image", data=pixels, chunks=tile)
    image.attrs["CLASS"] = np.bytes_("IMAGE")
    image.attrs["colour mode"] = COLOURS[channels]
    image.attrs["mean colour"] = pixels.reshape(-1, channels).mean(axis=0)
    group.attrs["source file"] = path.name
    group.attrs["size on disk"] = path.stat().st_size
    group.create_dataset("thumbnail", data=pixels[::8, ::8])
    return (name.encode(), *pixels.shape[:2], channels, pixels.nbytes)


def write(folder, filename):
    """Archives all photographs of a folder; returns the number of bytes of pixels."""
    with h5py.File(filename, "w") as f:
        album = f.create_group("photographs", track_order=True)
        rows = [add(album, *photograph) for photograph in photographs(folder)]
        contents = f.create_dataset("contents", data=np.array(rows, CONTENTS), maxshape=(None,), chunks=(64,))
        largest = contents["name"][np.argmax(contents["bytes"])].decode()
        f["largest"] = h5py.SoftLink(f"/photographs/{largest}")
        f["favourite"] = album["astronaut"]
        f.attrs["title"] = "Photographs that come with scikit-image"
        f.attrs["photographs"] = len(rows)
        return int(contents["bytes"].sum())


def check(folder, filename):
    """Compares an archive with the photographs from which it was made; returns their number."""
    with h5py.File(filename, "r") as f:
        album, count = f["photographs"], 0
        for name, path, pixels in photographs(folder):
            group = album[name]
            assert np.array_equal(group["image"][()], pixels), f"{name}: other pixels"
            assert np.array_equal(group["image"][5:60:7, ::11], pixels[5:60:7, ::11]), f"{name}: other strides"
            assert np.array_equal(group["thumbnail"][()], pixels[::8, ::8]), f"{name}: other thumbnail"
            assert group.attrs["source file"] == path.name
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            assert np.allclose(group["image"].attrs["mean colour"], pixels.reshape(-1, channels).mean(axis=0))
            assert f["contents"]["name"][count].decode() == name, "the order of creation"
            count += 1
        assert count == f.attrs["photographs"] == len(album) and list(album) == [n for n, _, _ in photographs(folder)]
        assert f["favourite"] == album["astronaut"]
        assert f["largest"].attrs["size on disk"] > 0
        return count


if __name__ == "__main__":
    command, source, target = sys.argv[1:4]
    if command in ("write", "both"):
        print(write(source, target))
    if command in ("check", "both"):
        print(check(source, target))
