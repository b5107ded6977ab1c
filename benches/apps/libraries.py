"""Workloads on libraries above h5py, PyTables and netCDF4, in the form of array_files.py."""

import os
import warnings

import numpy as np
from workload import Workload

# Each library is imported where it is used, so that a process is as large as a user's process would be, and no larger.


class Tables(Workload):
    """PyTables: a table that is filled, queried and indexed, and one column of which is changed twice."""

    def write(self):
        import tables
        with tables.open_file("x.h5", "w") as f:
            table = f.create_table("/", "t", {"x": tables.Float64Col(), "y": tables.Float64Col(), "k": tables.Int32Col()})
            rows = np.zeros(10_000, table.dtype)
            for i in range(self.n):
                rows["x"], rows["k"] = self.random.random(10_000), i
                table.append(rows)

    def ask(self):
        import tables
        with tables.open_file("x.h5") as f:
            return [len(f.root.t.read_where(f"(k == {k}) & (x > 0.9)")) for k in range(0, self.n, 10)]

    def modify(self):
        import tables
        with tables.open_file("x.h5", "r+") as f:
            for _ in range(2):
                f.root.t.modify_column(column=self.random.random(f.root.t.nrows), colname="y")
                f.flush()
            return float(f.root.t.col("y").sum())


class Rows(Workload):
    """PyTables: one row at a time, of a fixed length and of several lengths."""

    def append(self):
        import tables
        with tables.open_file("x.h5", "w") as f:
            equal = f.create_earray("/", "e", tables.Float64Atom(), (0, 10))
            ragged = f.create_vlarray("/", "v", tables.Int32Atom())
            for i in range(self.n * 20):
                equal.append(np.full((1, 10), i))
                ragged.append(np.arange(i % 30))

    def flushed(self):
        import tables
        with tables.open_file("x.h5", "a") as f:
            values = f.create_earray("/", "s", tables.Float64Atom(), (0,))
            for i in range(self.n * 20):
                values.append([i])
                values.flush()

    def read(self):
        import tables
        with tables.open_file("x.h5") as f:
            return float(f.root.e[:].sum()), sum(int(row.sum()) for row in f.root.v)


class Blosc(Workload):
    """PyTables: a compressed array."""

    def write(self):
        import tables
        with tables.open_file("x.h5", "w") as f:
            a = np.cumsum(self.random.integers(-5, 6, (self.n * 20, 2000)), axis=1).astype("i4")
            f.create_carray("/", "a", obj=a, filters=tables.Filters(5, "blosc:lz4", shuffle=True))

    def read(self):
        import tables
        with tables.open_file("x.h5") as f:
            return int(f.root.a[:].sum())


class Pandas(Workload):
    """pandas: frames in the fixed format, and as tables that are queried."""

    def write(self):
        import pandas
        warnings.simplefilter("ignore")
        frame = pandas.DataFrame(self.random.random((self.n * 1000, 8)), columns=list("abcdefgh"))
        frame["name"] = [f"n{i % 100}" for i in range(len(frame))]
        frame.to_hdf("x.h5", key="fixed", mode="w")
        frame.to_hdf("x.h5", key="table", format="table", data_columns=["a", "name"], complib="blosc", complevel=5)

    def read(self):
        import pandas
        return float(pandas.read_hdf("x.h5", "fixed")["b"].sum()), len(pandas.read_hdf("x.h5", "table", where="a > 0.9"))


class Climate(Workload):
    """netCDF4: an unlimited time axis, a day at a time; then a series at one place."""

    def write(self):
        import netCDF4
        with netCDF4.Dataset("x.nc", "w") as f:
            for name, size in (("time", None), ("lat", 90), ("lon", 180)):
                f.createDimension(name, size)
            t = f.createVariable("t", "f4", ("time", "lat", "lon"), zlib=True, complevel=1, chunksizes=(1, 90, 180))
            for day in range(self.n):
                t[day] = self.random.normal(280, 10, (90, 180)).round(1)

    def read(self):
        import netCDF4
        with netCDF4.Dataset("x.nc") as f:
            return float(f["t"][:].sum()), float(f["t"][:, 40, 50].sum())


class Xarray(Workload):
    """xarray over h5netcdf: variables with coordinates, reduced along time; many files open at once."""

    def write(self):
        import xarray
        shape, names = (self.n, 90, 180), ("time", "lat", "lon")
        for number in range(4):
            data = {v: (names, self.random.normal(0, 1, shape).astype("f4")) for v in "uv"}
            dataset = xarray.Dataset(data, {"time": np.arange(self.n), "lat": np.arange(90.0), "lon": np.arange(180.0)})
            dataset.to_netcdf(f"x{number}.nc", engine="h5netcdf",
                              encoding={v: {"zlib": True, "complevel": 1, "chunksizes": (5, 90, 180)} for v in "uv"})

    def reduce(self):
        import xarray
        with xarray.open_dataset("x0.nc", engine="h5netcdf") as x:
            return float(x["u"].mean("time").sum()), float(x["v"].sel(lat=10.0).max())

    def many_files(self):
        import xarray
        opened = [xarray.open_dataset(f"x{number}.nc", engine="h5netcdf") for number in range(4)]
        return [float(x["u"][day, 3, 5]) for x in opened for day in range(0, self.n, 10)]


class SingleCells(Workload):
    """AnnData: a sparse matrix with annotations, read whole and backed."""

    def write(self):
        import anndata
        import pandas
        import scipy.sparse
        x = scipy.sparse.random(self.n * 50, 2000, 0.05, "csr", "f4", random_state=7)
        cells = pandas.DataFrame({"kind": [f"k{i % 9}" for i in range(x.shape[0])]}, index=[f"c{i}" for i in range(x.shape[0])])
        anndata.AnnData(x, obs=cells).write_h5ad("x.h5ad")

    def read(self):
        import anndata
        return float(anndata.read_h5ad("x.h5ad").X.sum())

    def backed(self):
        import anndata
        data = anndata.read_h5ad("x.h5ad", backed="r")
        return float(data[100:200].to_memory().X.sum()), data.obs["kind"].nunique()


class Chain(Workload):
    """emcee: a chain with steps that are saved one by one."""

    def run(self):
        import emcee
        backend = emcee.backends.HDFBackend("x.h5")
        backend.reset(32, 5)
        sampler = emcee.EnsembleSampler(32, 5, lambda p: -0.5 * float((p ** 2).sum()), backend=backend)
        self.random = np.random.RandomState(7)
        sampler._random = self.random
        sampler.run_mcmc(self.random.randn(32, 5), self.n * 3)

    def read(self):
        import emcee
        return float(emcee.backends.HDFBackend("x.h5", read_only=True).get_chain(discard=10).sum())


class Scans(Workload):
    """silx: a tree of dictionaries, written and read back."""

    environment = "applications.txt"

    def write(self):
        from silx.io.dictdump import dicttoh5
        scans = {f"scan{i}": {"counts": self.random.random(500), "title": f"scan {i}", "motor": {"x": i * 0.5}}
                 for i in range(self.n * 2)}
        dicttoh5(scans, "x.h5")

    def read(self):
        from silx.io.dictdump import h5todict
        tree = h5todict("x.h5")
        return float(sum(scan["counts"].sum() for scan in tree.values())), len(tree)


class Neurons(Workload):
    """pynwb: acquisitions that are written and extended."""

    environment = "applications.txt"

    def write(self):
        import datetime

        import pynwb
        start = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
        session = pynwb.NWBFile("a session", "id", start)
        for i in range(4):
            data = pynwb.H5DataIO(self.random.integers(-500, 500, (1000, 32), "i2"), maxshape=(None, 32), chunks=(1000, 32),
                                  compression="gzip")
            session.add_acquisition(pynwb.TimeSeries(f"v{i}", data, unit="V", rate=1000.0))
        with pynwb.NWBHDF5IO("x.nwb", "w") as io:
            io.write(session)

    def grow(self):
        import h5py
        with h5py.File("x.nwb", "r+") as f:
            for _ in range(self.n):
                for i in range(4):
                    d = f[f"acquisition/v{i}/data"]
                    d.resize(len(d) + 300, 0)
                    d[-300:] = self.random.integers(-500, 500, (300, 32), "i2")
                f.flush()

    def read(self):
        import pynwb
        with pynwb.NWBHDF5IO("x.nwb", "r") as io:
            return [int(series.data[:].sum()) for series in io.read().acquisition.values()]


class Weights(Workload):
    """Keras: a model's weights, saved at each checkpoint and loaded."""

    environment = "applications.txt"

    def _model(self):
        os.environ["KERAS_BACKEND"] = "jax"
        os.environ["JAX_PLATFORMS"] = "cpu"
        import keras
        keras.utils.set_random_seed(7)
        return keras.Sequential([keras.Input((self.n * 5,)), *(keras.layers.Dense(self.n * 5) for _ in range(6))])

    def write(self):
        model = self._model()
        for _ in range(3):
            model.save_weights("x.weights.h5")

    def read(self):
        model = self._model()
        model.load_weights("x.weights.h5")
        return [float(abs(weights).sum()) for weights in model.get_weights()]
