"""tools/doctor names the problem, and its solution, for each way to get the settings wrong."""
# store: any
# only: h5lake

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cases import main

DOCTOR = Path(__file__).resolve().parents[2] / "tools" / "doctor"


def doctor(**settings):
    """Returns the exit status and output of doctor with these variables; None removes one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HDF5_VOL") and settings.get(k, v) is not None}
    env.update({"HDF5_VOL_CONNECTOR": "h5lake"}, **{k: v for k, v in settings.items() if v is not None})
    if settings.get("HDF5_VOL_CONNECTOR", "") is None:
        del env["HDF5_VOL_CONNECTOR"]
    run = subprocess.run([sys.executable, DOCTOR, "--python", sys.executable], env=env, capture_output=True, text=True)
    assert not run.stderr, run.stderr
    return run.returncode, run.stdout


def check_good(folder):
    code, said = doctor()
    assert code == 0 and "a container" in said and said.rstrip().endswith("all is well"), said
    assert "h5py.libs" in said or "libhdf5" in said, said


def check_relative_paths(folder):
    (folder / "python").symlink_to(sys.executable)
    run = subprocess.run([sys.executable, DOCTOR, "--python", "./python", "--python", "./nothing"], text=True,
                         env={**os.environ, "HDF5_VOL_CONNECTOR": "h5lake"}, capture_output=True)
    assert run.returncode in (1, 2) and "no such program" in run.stdout and not run.stderr, run
    assert run.stdout.index("h5py") < run.stdout.index("./nothing"), run.stdout


def check_wrong_path(folder):
    code, said = doctor(HDF5_PLUGIN_PATH="/nonexistent/folder")
    assert code == 1 and "/nonexistent/folder: No such file" in said and "a container" not in said, said


def check_no_path(folder):
    code, said = doctor(HDF5_PLUGIN_PATH=None)
    assert code == 1 and "no folder of plugins is named" in said, said


def check_wrong_name(folder):
    code, said = doctor(HDF5_VOL_CONNECTOR="h5lakee")
    assert code == 1 and "it names the connector 'h5lakee'" in said and "a container" not in said, said


def check_no_connector(folder):
    code, said = doctor(HDF5_VOL_CONNECTOR=None)
    assert code == 1 and "HDF5 is not told to use h5lake" in said and "made a native file" in said, said


def check_bad_key(folder):
    code, said = doctor(HDF5_VOL_CONNECTOR="h5lake nosuchkey=1")
    assert code == 1 and "unknown key 'nosuchkey'" in said and "it made no file" in said, said


def check_unknown_variable(folder):
    code, said = doctor(H5LAKE_STROE="memory:x")
    assert code == 1 and "H5LAKE_STROE is no setting of the connector" in said, said
    assert "did you mean H5LAKE_STORE?" in said and "it made no file" in said, said


def check_every_variable_is_known(folder):
    page = (DOCTOR.parents[1] / "docs" / "settings.md").read_text()
    variables = re.findall(r"^\| `\w+` \| `(H5LAKE_\w+)` \|", page, re.M)
    assert len(variables) > 10, variables
    said = doctor(**{variable: "" for variable in variables})[1]
    assert all(variable in said for variable in variables) and "is no setting" not in said, said


def check_unknown_store(folder):
    code, said = doctor(HDF5_VOL_CONNECTOR="h5lake store=nosuch://x")
    assert code == 1 and "scheme 'nosuch'" in said, said


def check_store_is_not_written_to(folder):
    code, said = doctor(HDF5_VOL_CONNECTOR=f"h5lake store=file://{folder}/objects")
    assert code == 0 and "answers" in said, said
    objects = folder / "objects"
    assert not objects.exists() or not [p for p in objects.rglob("*.h5*")], list(objects.rglob("*"))


def check_other_things_in_the_folder(folder):
    (folder / "plugins").mkdir()
    shutil.copy(Path(os.environ["HDF5_PLUGIN_PATH"]) / "libh5lake.so", folder / "plugins")
    (folder / "plugins" / "libother.so").write_bytes(b"not a plugin")
    code, said = doctor(HDF5_PLUGIN_PATH=str(folder / "plugins"))
    assert code == 1 and "libother.so is no HDF5 plugin" in said, said


def check_a_folder_of_other_plugins(folder):
    # netCDF4's wheel has one, with libraries and files that are no plugins.
    (folder / "filters").mkdir()
    (folder / "filters" / "libfilter.so").write_bytes(b"H5PLget_plugin_info")
    (folder / "filters" / "libhelper.so").write_bytes(b"no plugin")
    (folder / "filters" / "empty.txt").touch()
    code, said = doctor(HDF5_PLUGIN_PATH=f"{os.environ['HDF5_PLUGIN_PATH']}:{folder}/filters")
    assert code == 0 and "another plugin" in said and "PROBLEM" not in said, said


def check_a_folder_of_another_plugin(folder):
    (folder / "filters").mkdir()
    (folder / "filters" / "libfilter.so").write_bytes(b"H5PLget_plugin_info")
    code, said = doctor(HDF5_PLUGIN_PATH=f"{folder}/filters")
    assert code == 1 and "another plugin" in said and "none of these folders holds a libh5lake.so" in said, said
    assert f"export HDF5_PLUGIN_PATH={DOCTOR.parents[1]}/target/plugin" in said and "a container" not in said, said


def check_a_folder_without_plugins(folder):
    (folder / "libother.so").write_text("nothing")
    code, said = doctor(HDF5_PLUGIN_PATH=f"{os.environ['HDF5_PLUGIN_PATH']}:{folder}")
    assert code == 1 and f"{folder} holds no HDF5 plugin" in said and "\n1 problem(s)" in said, said


def check_a_plugin_that_does_not_load(folder):
    (folder / "plugins").mkdir()
    plugin = (Path(os.environ["HDF5_PLUGIN_PATH"]) / "libh5lake.so").read_bytes()
    (folder / "plugins" / "libh5lake.so").write_bytes(b"broken" + plugin)
    code, said = doctor(HDF5_PLUGIN_PATH=str(folder / "plugins"))
    assert code == 1 and "it cannot be loaded" in said and "a container" not in said, said


main(globals())
