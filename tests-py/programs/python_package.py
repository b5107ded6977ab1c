"""The Python package: h5lake is switched on and off in a process, for one file, and for other programs."""
# store: any
# only: h5lake
# requires: clients.txt
# needs: tool

import ast
import json
import os
import re
import shutil
import sys
from pathlib import Path

from cases import main
from packaged import FILES, ROOT, fails, installed, run, works

EARLY, LATE = "", "import h5py, netCDF4, tables\nh5py.File('early', 'w', driver='core', backing_store=False).close()\n"


def check_before_and_after_clients(folder):
    site = installed(folder)
    for n, before in enumerate((EARLY, LATE)):
        works(site, before + FILES + f"""
h5lake.enable(sync="commit")
assert write("on{n}") == [True] * 3
assert len(h5lake.libraries()) == 3 and all(library.is_h5lake for library in h5lake.libraries()), h5lake.libraries()
h5lake.enable()
assert write("again{n}") == [True] * 3
h5lake.disable()
assert write("native-off{n}") == [False] * 3
h5lake.disable()
assert not any(library.is_h5lake for library in h5lake.libraries())
""")


def check_blocks(folder):
    works(installed(folder), FILES + """
import os
with h5lake.enabled(retention="1h"):
    assert write("a") == [True] * 3
    outer = os.environ["HDF5_VOL_CONNECTOR"]
    try:
        with h5lake.enabled(sync="commit"):
            assert os.environ["HDF5_VOL_CONNECTOR"] == "h5lake sync=commit" and write("b") == [True] * 3
            raise KeyError
    except KeyError:
        pass
    assert os.environ["HDF5_VOL_CONNECTOR"] == outer == "h5lake retention=1h" and write("c") == [True] * 3
assert "HDF5_VOL_CONNECTOR" not in os.environ and "HDF5_PLUGIN_PATH" not in os.environ
assert write("native-d") == [False] * 3
""")


def check_messages(folder):
    works(installed(folder), """
import getpass, os, h5lake
os.environ["LOGNAME"] = getpass.getuser()
h5lake.enable(retention="1h", message="by the settings")
import h5py
with h5py.File("m.h5", "w") as f:
    f["a"] = 1
    f.flush()
    with h5lake.message("calibrated\\nwith lamp 3"):
        f["b"] = 2
        f.flush()
    f["c"] = 3
versions = {v.number: v for v in h5lake.versions("m.h5")}
said = [versions[n].message for n in sorted(versions)]
assert said == ["by the settings", "by the settings", "calibrated\\nwith lamp 3", "by the settings"], said
newest = versions[max(versions)]
assert newest.user and newest.program.startswith("python") and newest.host and newest.pid == os.getpid(), newest
h5lake.tag("m.h5@v=3", "lamp")
assert h5lake.tags("m.h5")[0].version == 3
for text in "x" * 513, "\\x1b[2J":
    try:
        h5lake.message(text)
    except ValueError as error:
        assert "message" in str(error), error
    else:
        raise AssertionError(text)
""")


def check_statistics(folder):
    works(installed(folder), """
import h5lake
assert h5lake.stats() == []
import h5py
assert h5lake.stats() == []
h5lake.enable()
with h5py.File("closed.h5", "w") as f:
    f["x"] = range(1000)
    f.flush()
    f["y"] = 1
g = h5py.File("open.h5", "w")
g["x"] = 1
g.flush()
closed, opened = h5lake.stats()
assert closed["container"].endswith("closed.h5") and not closed["open"] and closed["commits"]["count"] == 2, closed
assert opened["container"].endswith("open.h5") and opened["open"] and opened["commits"]["count"] == 1, opened
assert opened["requests"]["write"]["count"] > 0 and opened["bytes_written"] > 0 and opened["open_seconds"] > 0, opened
g.close()
again = h5lake.stats()
assert [entry["open"] for entry in again] == [False, False] and again[0] == closed, again
with h5py.File("open.h5") as f:
    f["x"][()]
read = h5lake.stats()[-1]
assert read["bytes_read"] > 0 and not read["writable"] and read["requests"]["write"]["count"] == 0, read
for n in range(300):
    h5py.File("open.h5").close()
assert len(h5lake.stats()) == 256
""")


def check_texts_are_copied_many_at_once(folder):
    """A copy looks up many strings in the heap at once, instead of one at a time."""
    works(installed(folder), """
import h5lake
h5lake.enable()
import h5py
with h5py.File("texts.h5", "w") as f:
    f.create_dataset("s", data=[f"text {n}" for n in range(50000)], dtype=h5py.string_dtype(), chunks=(10000,))
with h5py.File("texts.h5") as f, h5py.File("copy.h5", "w") as to:
    f.copy("s", to)
    assert to["s"][49999] == b"text 49999"
looks = [entry["block_cache"] for entry in h5lake.stats()[-2:]]
assert sum(cache["hits"] + cache["misses"] for cache in looks) < 500, looks
""")


def check_enabling_imports_little(folder):
    # h5py imports none of these modules, and each of them takes longer than all of `enable`.
    slow = {"dataclasses", "importlib.abc", "importlib.util", "inspect", "json", "pathlib", "subprocess"}
    works(installed(folder), f"""
import sys
before = set(sys.modules)
import h5lake
h5lake.enable()
imported = set(sys.modules) - before
assert not imported & {slow}, imported
""")


def check_names_are_imported_when_used(folder):
    # Type checkers read one list of names, and the interpreter reads the other.
    source = ast.parse((ROOT / "python" / "src" / "h5lake" / "__init__.py").read_text())
    block = next(node for node in source.body if isinstance(node, ast.If))
    typed = {node.module: sorted(name.name for name in node.names) for node in block.body}
    out = works(installed(folder), """
import h5lake, json
assert set(h5lake.__all__) <= set(dir(h5lake)) and all(getattr(h5lake, name) for name in h5lake.__all__)
try:
    h5lake.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
print(json.dumps(h5lake._MODULES))
""")
    assert json.loads(out) == typed, (out, typed)


def check_wrong_settings_change_nothing(folder):
    works(installed(folder), LATE + FILES + """
import os
for settings in (dict(stroe="memory:x"), dict(cache="64M"), dict(writers=2)):
    try:
        h5lake.enable(**settings)
    except ValueError as error:
        assert next(iter(settings)) in str(error), error
    else:
        raise AssertionError(settings)
    assert "HDF5_VOL_CONNECTOR" not in os.environ and write("native-a") == [False] * 3
""")
    fails(["ValueError", "H5LAKE_STROE", "H5LAKE_STORE"], folder / "site", "import h5lake; h5lake.enable()", H5LAKE_STROE="x")


def check_one_file(folder):
    works(installed(folder), """
import os, h5lake, h5py
""" + FILES + """
with h5py.File("one", "w", driver="h5lake", sync="commit") as f, h5py.File("native-other", "w") as g:
    f["x"] = g["x"] = [1, 2, 3]
assert is_ours("one") and not is_ours("native-other")
with h5py.File("one", driver="h5lake") as f, h5py.File("m", "w", driver="h5lake", store="memory:a b") as g:
    g["x"] = f["x"][:]
os.environ["H5LAKE_ONLY"] = "*.lake"
h5py.File("named", "w", driver="h5lake").close()
h5py.File("native-named", "w", driver="h5lake", only="*.lake").close()
assert is_ours("named") and not is_ours("native-named")
del os.environ["H5LAKE_ONLY"]
assert not any(library.is_h5lake for library in h5lake.libraries()) and "HDF5_PLUGIN_PATH" not in os.environ
try:
    h5py.File("one", driver="h5lake", stroe="x")
except (OSError, ValueError) as error:
    assert "stroe" in str(error), error
""")


def check_a_plugin_that_does_not_load(folder):
    # HDF5 2.x crashes if its connector is missing, so the error has to come before.
    site = installed(folder, plugin=b"no library")
    for before in (EARLY, LATE):
        fails(["LibraryError", "libh5lake.so"], site, before + "import h5lake\nh5lake.enable()\nimport h5py")
    works(site, FILES + """
try:
    h5lake.enable()
except h5lake.LibraryError:
    assert write("native-a") == [False] * 3
""")


def check_threads(folder):
    works(installed(folder), LATE + FILES + """
import threading
import numpy as np
failed, done = [], threading.Event()
def writer(n):
    try:
        for k in range(40):
            with h5py.File(f"native-or-not-{n}-{k}", "w") as f: f["x"] = np.full(1000, k)
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=writer, args=[n]) for n in range(4)]
[thread.start() for thread in threads]
for _ in range(20):
    with h5lake.enabled(): pass
[thread.join() for thread in threads]
assert not failed, failed
with h5lake.enabled():
    for n in range(4):
        for k in range(40):
            with h5py.File(f"native-or-not-{n}-{k}") as f: assert (f["x"][:] == k).all()
""")


def check_children(folder):
    (folder / "child.py").write_text("import sys, h5py\nwith h5py.File(sys.argv[1], 'w') as f: f['x'] = 1\n")
    works(installed(folder), FILES + """
import multiprocessing, os, subprocess, sys
h5lake.enable()
def fill(name):
    import h5py
    with h5py.File(name, "w") as f: f["x"] = 1
child = multiprocessing.get_context("fork").Process(target=fill, args=["forked"])
child.start(); child.join()
subprocess.run([sys.executable, "child.py", "spawned"], check=True)
assert child.exitcode == 0 and is_ours("forked") and is_ours("spawned")
""")


def check_programs(folder):
    (folder / "script.py").write_text(FILES.replace("import h5lake", "import sys") + """
print(sys.argv[1:], __name__, write(sys.argv[1])[0])
sys.exit(7 if "fail" in sys.argv else 0)
""")
    site, tool = installed(folder), os.environ["TOOL"]
    module = [sys.executable, "-m", "h5lake", "run"]
    for n, command in enumerate((module, [*module, "sync=commit", "retention=1h"], [tool, "run", sys.executable],
                                 [tool, "run", "-s", "sync=commit", "--", sys.executable])):
        assert works(site, command, "script.py", f"a{n}", "-x") == f"['a{n}', '-x'] __main__ True"
        assert run(site, command, "script.py", f"b{n}", "fail")[0] == 7
    assert works(site, [*module, "-m"], "script", "c") == "['c'] __main__ True"
    fails(["did you mean 'store'?"], site, [*module, "stroe=x"], "script.py", "d")
    fails(["did you mean 'store'?"], site, [tool, "run", "-s", "stroe=x"], sys.executable, "script.py", "d")
    fails(["no-such-program"], site, [tool, "run"], "no-such-program")
    status, _, err = run(site, module, "nosuch.py")
    assert status == 1 and err.endswith("nosuch.py: No such file or directory\n") and "Traceback" not in err, (status, err)
    assert works(site, [sys.executable, "-m", "h5lake"], "--version").startswith("h5lake")


def check_filters_of_netcdf4(folder):
    # netCDF4's wheel names its own folder of filters only if HDF5_PLUGIN_PATH is not set.
    site = installed(folder)
    (folder / "zstd.py").write_text("""
import netCDF4
with netCDF4.Dataset("z.nc", "w") as f:
    f.createDimension("t", 1000)
    f.createVariable("v", "i4", ["t"], compression="zstd")[:] = range(1000)
with netCDF4.Dataset("z.nc") as f: assert f["v"][:].tolist() == list(range(1000))
assert b"h5lake" in open("z.nc", "rb").read(16)
""")
    works(site, "import h5lake; h5lake.enable()\n" + (folder / "zstd.py").read_text())
    works(site, "import netCDF4, h5lake; h5lake.enable()\n" + (folder / "zstd.py").read_text())
    works(site, [sys.executable, "-m", "h5lake", "run", "zstd.py"])
    # If netCDF4 is installed beside the package, the tool finds its folder of filters, too.
    packages = folder / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "h5lake").symlink_to(site / "h5lake")
    out = works(site, [sys.executable, "-c", "import netCDF4; print(netCDF4.__file__)"])
    (packages / "netCDF4").symlink_to(Path(out).parent)
    (folder / "bin").mkdir()
    shutil.copy(os.environ["TOOL"], folder / "bin" / "h5lake")
    works(site, [folder / "bin" / "h5lake", "run", sys.executable, "zstd.py"])


def check_functions(folder):
    (folder / "store").mkdir()
    works(installed(folder), FILES + """
from pathlib import Path
import h5py
h5lake.enable(retention="1h")
for value in (1, 2):
    with h5py.File("a.h5", "a") as f: f.require_dataset("x", (100000,), "i4")[:] = value
kept = h5lake.versions("a.h5")
assert [v.number for v in kept] == sorted((v.number for v in kept), reverse=True) and len(kept) > 1, kept
assert len(h5lake.versions(Path("a.h5"), most=1)) == 1 and kept[0].time.endswith("Z") and kept[0].pid > 0
assert h5lake.verify("a.h5") == []
h5lake.vacuum("a.h5")
with h5py.File("a.h5", "w") as f: f["y"] = 1
h5lake.restore("a.h5")
with h5py.File("a.h5") as f: assert f["x"][0] == 2
data = Path("a.h5").read_bytes()
at = data.index(b"\\2\\0\\0\\0" * 64)
Path("b.h5").write_bytes(data[:at] + b"\\xff" + data[at + 1:])
found = h5lake.verify("b.h5")
assert found and found[0].severity == "damage" and found[0].newest and found[0].path == "/x", found
assert h5lake.repair("b.h5", "c.h5") is False and h5lake.repair("a.h5", "d.h5") is True and h5lake.verify("d.h5") == []
try:
    h5lake.verify("nothing.h5")
except h5lake.ToolError as error:
    assert "nothing.h5" in str(error)
else:
    raise AssertionError
with h5py.File("s.h5", "w", driver="h5lake", store=f"file://{Path.cwd()}/store") as f: f["x"] = 1
Path("stage").mkdir()
with h5py.File("s.h5", "a", driver="h5lake", store=f"file://{Path.cwd()}/store", stage=f"{Path.cwd()}/stage") as f: f["z"] = 1
assert h5lake.drain("stage") == [] and not list(Path("stage").iterdir())
Path("s.h5").rename("old")
h5lake.link(f"file://{Path.cwd()}/store/s.h5", "s.h5")
with h5py.File("s.h5") as f: assert f["x"][()] == 1
url = f"file://{Path.cwd()}/store"
[listed] = h5lake.list(url, long=True)
assert (listed.name, listed.kind, listed.location) == ("s.h5", "objects", f"{url}/s.h5") and listed.bytes > 0, listed
assert (listed.version, listed.time) == (lambda v: (v.number, v.time))(h5lake.versions(listed.location)[0]), listed
kinds = {found.name: found.kind for found in h5lake.list(Path("."))}
assert kinds["a.h5"] == "file" and kinds["s.h5"] == "pointer" and kinds["store/"] == "folder", kinds
assert "store/s.h5" in [found.name for found in h5lake.list(".", recursive=True)]
""")


def check_functions_for_two_containers(folder):
    works(installed(folder), FILES + """
from pathlib import Path
import h5py
h5lake.enable(retention="1h")
for value in (1, 2):
    with h5py.File("a.h5", "a") as f: f.require_dataset("x", (10,), "i4")[:] = value
newest = h5lake.versions("a.h5")[0].number
assert h5lake.diff("a.h5", "a.h5") == []
(found,) = h5lake.diff(f"a.h5@v={newest - 1}", "a.h5", elements=1)
assert (found.path, found.attribute, found.change) == ("/x", None, "elements"), found
assert found.detail["differing"] == 10 and found.detail["first"][0]["to"] == 2, found
h5lake.copy("a.h5", "b.h5")
assert h5lake.diff("a.h5", Path("b.h5"), storage=True) == []
with h5py.File("a.h5", "a") as f: f["y"] = 3
done = h5lake.copy("a.h5", "b.h5", update=True)
assert (done.before, done.version) == (newest, h5lake.versions("a.h5")[0].number) and done.entries > 0, done
assert h5lake.copy("a.h5", "b.h5", update=True).entries == 0 and h5lake.diff("a.h5", "b.h5") == []
h5lake.restore("a.h5", version=newest - 1)
assert h5lake.diff("a.h5", f"a.h5@v={newest - 1}") == [] != h5lake.diff("a.h5", "b.h5")
h5lake.export_native("a.h5", "native-a.h5")
h5lake.import_native("native-a.h5", "c.h5", jobs=1)
assert h5lake.diff("a.h5", "c.h5") == []
h5lake.remove("b.h5", "c.h5")
assert not Path("b.h5").exists()
h5lake.restore("b.h5")
for call in (h5lake.copy, h5lake.import_native, h5lake.export_native, h5lake.diff):
    try:
        call("nothing.h5", "d.h5")
    except h5lake.ToolError as error:
        assert "nothing.h5" in str(error), error
    else:
        raise AssertionError(call)
""")


def check_conversions_name_the_files_that_fail(folder):
    works(installed(folder), """
from pathlib import Path
import h5py
for way in ("native", "h5lake"):
    Path(f"native-{way}").mkdir()
for name in "abc":
    h5py.File(f"native-native/{name}.h5", "w").create_dataset("x", data=1).file.close()
    with h5lake.enabled(): h5py.File(f"native-h5lake/{name}.h5", "w").close()
def fails(call, *arguments):
    try: call(*arguments, jobs=1)
    except h5lake.ToolError as error: return str(error)
    raise AssertionError(arguments)
for way, call in (("native", h5lake.import_native), ("h5lake", h5lake.export_native)):
    source, target = f"native-{way}", f"native-out-{way}"
    call(source, f"native-all-{way}")
    for name in "bc":
        Path(source, f"{name}.h5").write_bytes(Path(source, f"{name}.h5").read_bytes()[:100])
    said = fails(call, source, target)
    assert said.startswith(f"{source}: 2 of 3 files could not be converted\\n"), said
    assert all(f"\\n  {source}/{name}.h5: " in said for name in "bc") and "a.h5" not in said, said
    assert Path(target, "a.h5").exists() and len(said.splitlines()) >= 3, said
    Path(source, "a.h5").unlink()
    assert "2 of 2 files could not be converted" in fails(call, source, target + "-none")
    assert "nothing.h5" in fails(call, "nothing.h5", "d.h5")
""".replace("import h5py", "import h5lake, h5py", 1))


def check_branches(folder):
    works(installed(folder), FILES + """
from pathlib import Path
import h5py
h5lake.enable()
with h5py.File("a.h5", "w") as f: f["x"], f["y"] = range(100), 1
made = h5lake.branch(Path("a.h5"), "fix")
assert (made.branch, made.commits) == ("fix", 0) and made.base == h5lake.tags("a.h5")[0].version, made
with h5py.File("a.h5@branch=fix", "r+") as f: f["x"][:10] = -1
assert [(b.branch, b.commits > 0) for b in h5lake.branches("a.h5")] == [("fix", True)]
(found,) = h5lake.diff("a.h5", "a.h5@branch=fix")
assert (found.path, found.detail["differing"]) == ("/x", 10), found
with h5py.File("a.h5", "r+") as f: f["x"][5] = 7
try:
    h5lake.merge("a.h5", "fix")
    raise AssertionError("both changed an element")
except h5lake.ToolError as error:
    assert "/x" in str(error) and "Nothing is merged" in str(error), error
with h5py.File("a.h5@branch=fix", "r+") as f: f["x"][5] = 7
version = h5lake.merge("a.h5", "fix")
assert version <= h5lake.versions("a.h5")[0].number and h5lake.branches("a.h5") == []
with h5py.File("a.h5") as f: assert list(f["x"][4:7]) == [-1, 7, -1]
h5lake.branch("a.h5", "other")
h5lake.delete_branch("a.h5", "other")
assert h5lake.branches("a.h5") == [] == h5lake.tags("a.h5") == h5lake.verify("a.h5")
""")


def check_native_files_by_reference(folder):
    works(installed(folder), """
import os, h5lake, h5py, numpy as np
with h5py.File("native-a.h5", "w") as f:
    f.create_dataset("x", data=np.arange(1000), chunks=(100,), compression="gzip")
    f["y"], f["text"] = np.arange(500.0), "a"
os.utime("native-a.h5", (1_700_000_000, 1_700_000_000))
done = h5lake.adopt("native-a.h5", "a.h5", checksums=True)
assert (done.chunks, done.datasets) == (10, 1) and done.copied[0]["path"] == "/text", done
[reference] = h5lake.references("a.h5")
assert reference.source == os.path.realpath("native-a.h5") and reference.bytes == done.referenced_bytes, reference
assert h5lake.materialize("a.h5") == done.referenced_bytes and h5lake.references("a.h5") == []
os.remove("native-a.h5")
with h5lake.enabled(), h5py.File("a.h5") as f:
    assert (f["x"][()] == np.arange(1000)).all() and f["y"][499] == 499
""")


def check_native_files_that_are_joined(folder):
    works(installed(folder), """
import os, h5py, h5lake, numpy as np
from pathlib import Path
for day in range(2):
    with h5py.File(f"native-{day}.h5", "w") as f:
        f.create_dataset("t", data=np.arange(12).reshape(4, 3) + 100 * day, chunks=(2, 3), maxshape=(None, 3), compression="gzip")
        f["lat"] = np.arange(3.0)
    os.utime(f"native-{day}.h5", (1_700_000_000, 1_700_000_000))
names = [Path("native-0.h5"), "native-1.h5"]
done = h5lake.adopt(names, "a.h5", concat="/t")
assert (done.chunks, done.not_joined) == (4, ["/lat"]), done
h5lake.adopt(names, "b.h5", concat=["/t"], stack=["/lat"], dimension=1)
with h5lake.enabled(), h5py.File("a.h5") as f, h5py.File("b.h5") as g:
    assert f["t"].shape == (8, 3) and g["t"].shape == (4, 6) and g["lat"].shape == (2, 3)
    assert (f["t"][4:] == np.arange(12).reshape(4, 3) + 100).all() and (g["t"][:, 3:] == f["t"][4:]).all()
try:
    h5lake.adopt(names, "c.h5")
    raise AssertionError("several files without a word of what is joined")
except OSError as error:
    assert "--concat" in str(error), error
""")


def check_display_names_an_old_version(folder):
    works(installed(folder), """
import os, h5lake, h5py
with h5lake.enabled(retention="1h"):
    h5py.File("run.h5", "w").close()
h5lake.tag("run.h5", "p1")
h5lake.branch("run.h5", "fix")
h5py.File("literal@v=.h5", "w").close()
for name in ("run.h5", "run.h5@v=2", "run.h5@t=2026-11-20T10:00:00Z", "run.h5@tag=p1", "run.h5@branch=fix", "literal@v=.h5", os.path.abspath("run.h5@v=2")):
    shown = h5lake.display(name)._repr_mimebundle_()
    assert shown["application/x-hdf5"] == os.path.abspath(name) and name.split("/")[-1] in shown["text/plain"], shown
# It is native, as its name says no version of a container.
os.remove("literal@v=.h5")
missing = [(name, FileNotFoundError) for name in ("other.h5", "other.h5@v=2", "other.h5@tag=p1", "run.h5@none=1")]
for name, error in (*missing, ("s3://lab/run.h5", ValueError)):
    try:
        h5lake.display(name)
        raise SystemExit(f"{name} is shown")
    except error as found:
        assert name in str(found), found
""")


def check_the_marks_of_versions_are_those_of_the_connector(folder):
    [marks] = re.findall(r"const VERSION_MARKS.*= \[(.*)\];", (ROOT / "connector/vol/src/names.rs").read_text())
    works(installed(folder), f"from h5lake import _names\nassert _names.VERSION_MARKS == ({marks})")


def check_missing_parts(folder):
    """The error names a command that exists in the user's environment."""
    plugin, tool = "import h5lake\nh5lake.plugin_folder()", "import h5lake\nh5lake.versions('a.h5')"
    site = installed(folder)
    (site / "h5lake" / "plugin" / "libh5lake.so").unlink()
    (site / "bin" / "h5lake").unlink()
    for code in (plugin, tool):
        fails(["is missing; install the wheel again: pip install --force-reinstall"], site, code, PATH="")
    root = folder / "checkout"
    (root / "python").mkdir(parents=True)
    (root / "Cargo.toml").touch()
    site.rename(root / "python" / "src")
    for code, command in ((plugin, "make plugin"), (tool, "cargo build --release --package h5lake-cli")):
        fails([f"is missing; run '{command}' in {root}"], root / "python" / "src", code, PATH="")


def check_its_version(folder):
    [version] = re.findall(r'^\[workspace\.package\]\nversion = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)
    assert works(installed(folder), "import h5lake\nprint(h5lake.__version__)") == version


def check_a_zarr_that_is_too_old(folder):
    site = installed(folder)
    (site / "zarr.py").write_text('__version__ = "2.18.7"')
    fails(["ImportError", "zarr 2.18.7", "zarr>=3"], site, "import h5lake\nh5lake.export_zarr('a.h5', 'a.zarr')")


main(globals())
