"""The tool's command doctor says which settings work and which do not, and how to correct them."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402,F401

from cases import main  # noqa: E402

LIBRARY = next(line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line.strip()))
PLUGINS = os.environ.get("HDF5_PLUGIN_PATH", "")


def doctor(*targets, connector="h5lake", plugins=PLUGINS, modules=False, **variables):
    """Returns the findings, {what: fix}, and the number of problems."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("H5LAKE_", "HDF5_"))}
    env.update({"HDF5_VOL_CONNECTOR": connector, "HDF5_PLUGIN_PATH": str(plugins), **variables})
    env = {name: value for name, value in env.items() if value}
    command = [os.environ["TOOL"], "doctor", "--json", "--python", sys.executable, *([] if modules else targets or [LIBRARY])]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    answer = json.loads(done.stdout)
    assert done.returncode == (2 if answer["problems"] else 0), (done.returncode, done.stdout, done.stderr)
    return {one["what"].strip(): (one["found"], one["fix"]) for one in answer["found"]}, answer["problems"]


def check_all_is_well(folder):
    found, problems = doctor()
    assert problems == 0 and "a container" in found["makes"][0], found
    assert found["loads"][0].startswith(f"HDF5 {h5py.version.hdf5_version}: "), found


def check_modules(folder):
    found, _ = doctor(modules=True)
    assert f"h5py {h5py.__version__}" in found, found


def check_missing_variables(folder):
    found, _ = doctor(connector="")
    assert "native" in found["HDF5_VOL_CONNECTOR"][0] and found["HDF5_VOL_CONNECTOR"][1], found
    found, problems = doctor(plugins="")
    assert found["HDF5_PLUGIN_PATH"][1] and found["makes"][1] and problems >= 2, found
    # The version of a library is reported even if the library cannot start because it does not find its connector.
    assert found["loads"][0].startswith(f"HDF5 {h5py.version.hdf5_version}: "), found
    found, _ = doctor(connector="other")
    assert "'other'" in found["HDF5_VOL_CONNECTOR"][0], found
    found, _ = doctor(HDF5_PLUGIN_PRELOAD="::")
    assert "HDF5_PLUGIN_PRELOAD" in found and found["makes"][1], found


def check_wrong_settings(folder):
    found, _ = doctor(H5LAKE_STROE="memory:x")
    assert "H5LAKE_STORE" in found["settings"][0] and "H5LAKE_STROE" in found["makes"][0], found
    # h5py silences HDF5, and the reason is shown all the same.
    for modules in (False, True):
        found, _ = doctor(connector="h5lake stroe=x", modules=modules)
        assert "stroe" in found["settings"][0] and "stroe" in found["makes"][0], found


def check_plugin_folders(folder):
    plugins = Path(folder, "plugins")
    plugins.mkdir()
    found, _ = doctor(plugins=f"{plugins}:{folder}/missing")
    assert "holds" in found["HDF5_PLUGIN_PATH"][0] and found["makes"][1], found
    source = next(Path(one, "libh5lake.so") for one in PLUGINS.split(":") if Path(one, "libh5lake.so").exists())
    plugin = plugins / "libh5lake.so"
    shutil.copy(source, plugin)
    (plugins / "libother.so").write_text("nothing")
    found, problems = doctor(plugins=plugins)
    assert problems == 1 and found["libother.so"][1] and "a container" in found["makes"][0], found
    (plugins / "libother.so").unlink()
    # The loader refuses a plugin of another machine.
    data = bytearray(source.read_bytes())
    data[18:20] = b"\xf3\x00"
    plugin.write_bytes(data)
    found, problems = doctor(plugins=plugins)
    assert "cannot be loaded" in found["libh5lake.so"][0] and problems >= 2, found


def check_a_folder_of_another_plugin(folder):
    (folder / "filters").mkdir()
    (folder / "filters" / "libfilter.so").write_bytes(b"H5PLget_plugin_info")
    found, problems = doctor(plugins=folder / "filters")
    assert "another plugin" in found["libfilter.so"][0] and found["libfilter.so"][1] is None, found
    what, fix = found["HDF5_PLUGIN_PATH"]
    assert "none of these folders" in what and fix.startswith("export HDF5_PLUGIN_PATH="), found
    assert found["makes"][1] and problems == 2, found
    # Other files beside other plugins are not checked.
    (folder / "filters" / "libhelper.so").write_bytes(b"no plugin")
    assert doctor(plugins=folder / "filters")[1] == 2
    # The suggested command corrects the problem, and keeps the folder of other plugins.
    if "FOLDER" not in fix:
        assert str(folder / "filters") in fix, fix
        assert doctor(plugins=fix.split("=", 1)[1])[1] == 0, fix


def check_a_folder_without_plugins(folder):
    for n in range(3):
        (folder / f"libother{n}.so").write_text("nothing")
    found, problems = doctor(plugins=f"{PLUGINS}:{folder}")
    assert problems == 1 and f"{folder} holds no HDF5 plugin" in found["HDF5_PLUGIN_PATH"][0], found


def check_text(folder):
    """Checks the text for a misspelt name of the connector."""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lak"}
    done = subprocess.run([os.environ["TOOL"], "doctor", "--python", sys.executable], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "PROBLEM: h5lak: it names the connector 'h5lak'" in done.stdout, done
    assert "to fix: export HDF5_VOL_CONNECTOR=h5lake" in done.stdout and "all is well" not in done.stdout, done.stdout
    assert "report this" not in done.stdout, done.stdout


def check_stores(folder):
    found, problems = doctor(connector=f"h5lake store=file://{folder}/objects")
    assert problems == 0 and "answers" in found["store"][0] and not list(folder.rglob("*made*")), found
    found, _ = doctor(connector="h5lake store=s3://bucket/x timeout=1s", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_REGION="x",
                      AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_ALLOW_HTTP="true")
    assert found["store"][1] and "a container" in found["makes"][0], found


def check_what_is_no_client(folder):
    found, problems = doctor("/bin/true", "/nowhere/at/all")
    assert "not linked" in found["/bin/true"][0] and "no such file" in found["/nowhere/at/all"][0] and problems == 3, found


if __name__ == "__main__":
    main(globals())
