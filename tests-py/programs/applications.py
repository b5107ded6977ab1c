"""Applications that store their data through h5py. Their environment is large: 'make test-clients' runs this
program."""
# store: any
# only: h5lake
# requires: applications.txt
# run: alone

import datetime
import os

import numpy as np
from cases import main


def ours(path):
    with open(path, "rb") as file:
        return file.read(16).startswith(b"\x89HDF\r\n\x1a\n\x4ch5lake")


def check_pynwb(_folder):
    import pynwb

    start = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    session = pynwb.NWBFile("a session", "id", start)
    values = np.arange(1000.0)
    session.add_acquisition(pynwb.TimeSeries(name="voltage", data=values, unit="V", rate=10.0))
    with pynwb.NWBHDF5IO("session.nwb", "w") as io:
        io.write(session)
    assert ours("session.nwb")
    with pynwb.NWBHDF5IO("session.nwb", "r") as io:
        read = io.read()
        assert (read.acquisition["voltage"].data[:] == values).all() and read.session_start_time == start


def check_mne(_folder):
    import mne

    info = mne.create_info(["Fz", "Cz"], 100.0, "eeg")
    data = np.random.default_rng(1).normal(size=(2, 500))
    raw = mne.io.RawArray(data, info, verbose=False)
    spectrum = raw.compute_psd(verbose=False)
    spectrum.save("spectrum.h5", verbose=False)
    assert ours("spectrum.h5")
    read = mne.time_frequency.read_spectrum("spectrum.h5")
    assert np.array_equal(read.get_data(), spectrum.get_data()) and read.ch_names == ["Fz", "Cz"]


def check_silx(_folder):
    import silx.io
    from silx.io.dictdump import dicttoh5, h5todict

    tree = {"scan": {"counts": np.arange(20), "title": "a scan", "deep": {"x": 1.5}}}
    dicttoh5(tree, "scan.h5")
    assert ours("scan.h5")
    read = h5todict("scan.h5")
    assert np.array_equal(read["scan"]["counts"], np.arange(20)) and read["scan"]["deep"]["x"] == 1.5
    with silx.io.open("scan.h5::/scan") as group:
        assert sorted(group) == ["counts", "deep", "title"]


def check_keras(_folder):
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    def model():
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])

    one, other, batch = model(), model(), np.ones((2, 4), "f4")
    one.save_weights("model.weights.h5")
    assert ours("model.weights.h5")
    other.load_weights("model.weights.h5")
    assert np.array_equal(one.predict(batch, verbose=0), other.predict(batch, verbose=0))


def check_rasterio(_folder):
    # Its wheel contains GDAL, and beside it a libhdf5 for GDAL.
    import warnings

    import h5py
    import rasterio

    with h5py.File("image.h5", "w") as f:
        f["x"] = np.arange(12, dtype="u1").reshape(3, 4)
    assert ours("image.h5")
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    for name in ("image.h5", "HDF5:image.h5://x"):
        with rasterio.open(name) as image:
            assert np.array_equal(image.read(1), np.arange(12).reshape(3, 4))


if __name__ == "__main__":
    main(globals())
