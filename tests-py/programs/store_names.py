"""The keys of plain names with the setting `store=`: the same for all clients, relative to a root, and never the
same for two paths."""
# store: any
# only: h5lake
# requires: science.txt
# needs: tool

import json
import os
import subprocess
import sys
from pathlib import Path

from cases import main

PYTHON = [sys.executable, "-W", "ignore", "-c"]
WRITE = """import h5py, h5netcdf, netCDF4, tables, xarray as xr
h5py.File('h5py.h5', 'w').close()
netCDF4.Dataset('netcdf4.nc', 'w').close()
h5netcdf.File('h5netcdf.nc', 'w').close()
tables.open_file('tables.h5', 'w').close()
data = xr.Dataset({'t': ('x', [1, 2])})
for engine in ('netcdf4', 'h5netcdf'): data.to_netcdf(f'xarray_{engine}.nc', engine=engine)"""
# netCDF4 checks the local path before it calls HDF5. An open by h5py leaves a pointer file there.
READ = """import h5py, xarray as xr
h5py.File('xarray_netcdf4.nc').close()
for engine in ('netcdf4', 'h5netcdf'):
    assert xr.open_dataset(f'xarray_{engine}.nc', engine=engine)['t'].values.tolist() == [1, 2]
for name in ('h5py.h5', 'netcdf4.nc', 'h5netcdf.nc', 'tables.h5', 'xarray_netcdf4.nc'): h5py.File(name).close()"""
ALL = ["h5netcdf.nc", "h5py.h5", "netcdf4.nc", "tables.h5", "xarray_h5netcdf.nc", "xarray_netcdf4.nc"]


def run(code, store, cwd, **variables):
    """Runs a program and returns its exit status, output and error."""
    Path(cwd).mkdir(exist_ok=True)
    env = {**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake store={store}", **variables}
    done = subprocess.run([*PYTHON, code], env=env, cwd=cwd, capture_output=True, text=True, timeout=170)
    return done.returncode, done.stdout.strip(), done.stderr


def works(code, store, cwd, **variables):
    status, out, err = run(code, store, cwd, **variables)
    assert status == 0, err[-2000:]
    return out


def refused(words, code, store, cwd, **variables):
    status, _, err = run(code, store, cwd, **variables)
    assert status and all(word in err for word in words), err[-2000:]


def keys(store):
    out = subprocess.run([os.environ["TOOL"], "ls", "-r", "--json", f"{store}/"], capture_output=True, text=True, check=True).stdout
    return [found["name"] for found in json.loads(out)]


def check_clients_agree(folder):
    store = f"file://{folder}/store"
    works(WRITE, store, folder / "here")
    assert keys(store) == ALL, keys(store)
    works(READ, store, folder / "there")


def check_a_root_of_several_folders(folder):
    store, root = f"file://{folder}/store", {"H5LAKE_ROOT": str(folder)}
    works(WRITE, store, folder / "run", **root)
    assert keys(store) == [f"run/{name}" for name in ALL], keys(store)
    # From another folder: by the whole path, or by a relative path through folders that need not exist.
    for pointer in (folder / "run").iterdir():
        pointer.unlink()
    read = "import h5py, sys, os; print([h5py.File(name).filename != '' for name in {}])"
    names = [f"{folder}/run/h5py.h5", "../run/h5py.h5", "../run/../run/./h5py.h5"]
    assert works(read.format(names), store, folder / "there", **root) == "[True, True, True]"
    (folder / "run").rename(folder / "gone")
    assert works(read.format(names), store, folder / "there", **root) == "[True, True, True]"


def check_a_program_that_changes_its_folder(folder):
    store = f"file://{folder}/store"
    (folder / "here/below").mkdir(parents=True)
    works("""import os, h5py, xarray as xr
h5py.File('x.h5', 'w').close()
xr.Dataset({'t': ('x', [1, 2])}).to_netcdf('y.nc', engine='h5netcdf')
late = xr.open_dataset('y.nc', engine='h5netcdf', cache=False)
os.chdir('below')
h5py.File('x.h5', 'w').close()
xr.backends.file_manager.FILE_CACHE.clear()  # xarray opens the file again, by its absolute path
assert late['t'].values.tolist() == [1, 2]
late.close()
os.chdir('../..')
for mode in 'wa':
    try: h5py.File('x.h5', mode)
    except OSError as error: assert 'outside the root' in str(error) and 'H5LAKE_ROOT' in str(error), error
    else: raise AssertionError('a container outside the root')""", store, folder / "here")
    assert keys(store) == ["below/x.h5", "x.h5", "y.nc"], keys(store)


def check_what_lies_outside_the_root(folder):
    """Existing files are opened as without the setting. A missing file is reported as missing, and clients that
    check for it get no other error."""
    store, out = f"file://{folder}/store", folder / "out"
    out.mkdir()
    native = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    make = "import h5py\nwith h5py.File({!r}, 'w') as f: f['x'] = [1]"
    subprocess.run([*PYTHON, make.format("native.h5")], env=native, cwd=out, check=True)
    subprocess.run([*PYTHON, make.format("local.h5")], env={**os.environ, "HDF5_VOL_CONNECTOR": "h5lake"}, cwd=out, check=True)
    subprocess.run([*PYTHON, make.format("pointer.h5")], env={**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake store={store}"},
                   cwd=out, check=True)
    (out / "text").write_text("no HDF5 file")
    works(f"""import h5py
for name in ('native', 'local', 'pointer'):
    with h5py.File(f'{out}/{{name}}.h5', 'r+') as f: f['x'][0] += 1
    assert h5py.File(f'{out}/{{name}}.h5')['x'][0] == 2, name
    assert h5py.is_hdf5(f'{out}/{{name}}.h5'), name
assert not h5py.is_hdf5('{out}/text') and not h5py.is_hdf5('{out}/missing')
try: h5py.File('{out}/missing.h5')
except FileNotFoundError as error: assert 'outside the root' in str(error), error""", store, folder / "here")
    refused(["outside the root", f"'{folder}/here'", "root="], f"import h5py\nh5py.File('{out}/new.h5', 'w')", store, folder / "here")
    # netCDF-C has one text of its own for every file that HDF5 does not create.
    refused(["new.nc"], f"import xarray as xr\nxr.Dataset().to_netcdf('{out}/new.nc', engine='netcdf4')", store, folder / "here")
    assert not (out / "new.h5").exists() and not (out / "new.nc").exists()
    works(f"import h5py\nh5py.File('{out}/new.h5', 'w').close()", store, folder / "here", H5LAKE_ROOT="/")
    assert f"{out}/new.h5"[1:] in keys(store), keys(store)


def check_links_to_other_files(folder):
    """External links and virtual datasets lead to the container beside, and only the last part of its key differs."""
    store, root = f"file://{folder}/store", {"H5LAKE_ROOT": str(folder)}
    works("""import h5py
with h5py.File('data.h5', 'w') as f: f['x'] = [1, 2, 3]
layout = h5py.VirtualLayout(3, 'i8')
layout[:] = h5py.VirtualSource('data.h5', 'x', 3, 'i8')
with h5py.File('all.h5', 'w') as f:
    f['link'] = h5py.ExternalLink('data.h5', 'x')
    f.create_virtual_dataset('view', layout)""", store, folder / "run", **root)
    for pointer in (folder / "run").iterdir():
        pointer.unlink()
    works(f"""import h5py
with h5py.File('{folder}/run/all.h5') as f: assert f['link'][:].tolist() == f['view'][:].tolist() == [1, 2, 3]""",
          store, folder / "there", **root)


def check_a_container_under_an_earlier_key(folder):
    """A container under a key that was a whole path, for example xarray's: its pointer file and its URL still lead
    to it."""
    store, here = f"file://{folder}/store", folder / "here"
    works("import h5py\nwith h5py.File('b.h5', 'w') as f: f['x'] = [1]", store, here, H5LAKE_ROOT="/")
    [key] = keys(store)
    assert key == f"{here}/b.h5"[1:]
    append = "import h5py\nwith h5py.File({!r}, 'r+') as f: f['x'][0] += 1; print(f['x'][0])"
    assert works(append.format("b.h5"), store, here) == "2"
    assert works(append.format(f"{store}/{key}"), store, folder / "there") == "3"
    subprocess.run([os.environ["TOOL"], "link", f"{store}/{key}", "b.h5"], cwd=folder / "there", check=True)
    assert works(append.format("b.h5"), store, folder / "there") == "4"
    assert keys(store) == [key], keys(store)


def check_the_tool_agrees(folder):
    store, here = f"file://{folder}/store", folder / "here"
    works("import h5py\nh5py.File('b.h5', 'w').close()", store, here)
    for name in ("b.h5", "./b.h5", f"{here}/b.h5", "none/../b.h5"):
        (here / "b.h5").unlink(missing_ok=True)
        env = {**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake store={store}"}
        subprocess.run([os.environ["TOOL"], "ls", name], cwd=here, env=env, check=True)
    for place in (".", "./", f"{here}", f"{here}/"):
        done = subprocess.run([os.environ["TOOL"], "ls", place], cwd=here, env=env, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("b.h5\t"), (place, done.stdout)


main(globals())
