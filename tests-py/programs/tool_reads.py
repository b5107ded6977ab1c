"""The tool's commands ls, tree, info and cat show the same content of a container as h5py: kinds, shapes, types and
values of every class, and parts of datasets."""
# store: any
# only: h5lake
# needs: tool

import json
import math
import os
import subprocess
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from cases import main  # noqa: E402

COLOURS = h5py.enum_dtype({"RED": 0, "GREEN": 1, "BLUE": -3}, basetype="i2")
POINT = np.dtype([("x", "<f4"), ("name", "S5"), ("grid", ">i2", (2, 2))])
NESTED = np.dtype([("id", "u1"), ("text", h5py.string_dtype()), ("all", h5py.vlen_dtype("i4")), ("p", POINT)])


def run(*arguments, code=0):
    """Runs the tool. Returns its standard output, or its standard error if it has to fail."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    done = subprocess.run([os.environ["TOOL"], *arguments], env=env, capture_output=True, timeout=120)
    assert done.returncode == code, (arguments, done.returncode, done.stdout[-500:], done.stderr)
    return done.stdout if code == 0 else done.stderr.decode()


def shown(*arguments):
    return json.loads(run(*arguments))


def plain(value):
    """Converts a value that h5py read to the form of the tool's JSON."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.void) and value.dtype.names:
        return {name: plain(value[name]) for name in value.dtype.names}
    if isinstance(value, np.void):
        return "0x" + value.tobytes().hex()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"bytes": value.hex()}
    if isinstance(value, (complex, np.complexfloating)):
        return {"r": plain(value.real), "i": plain(value.imag)}
    if isinstance(value, np.float16):
        value = np.float32(value)
    if isinstance(value, (float, np.floating)):
        special = {math.inf: "Infinity", -math.inf: "-Infinity"}
        return "NaN" if math.isnan(value) else special.get(float(value), float(str(value)))
    return value.item() if isinstance(value, np.generic) else value


def fill(f):
    """Creates datasets of every class, in every layout."""
    for order in "<>":
        for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            bounds = np.iinfo(kind)
            f[f"int/{kind}{'be' if order == '>' else 'le'}"] = np.array([bounds.min, 0, 1, bounds.max], order + kind)
        for kind in ("f2", "f4", "f8"):
            numbers = np.array([0.1, -2.5, 1e-4, np.nan, np.inf, -np.inf, 0], order + kind)
            f[f"float/{kind}{'be' if order == '>' else 'le'}"] = numbers
    f["text/fixed"] = np.array([b"ab", b"", b"abcde", b"\xff\n"], "S5")
    f["text/vlen"] = np.array(["one", "", "zw\u00f6lf \"x\"\n"], h5py.string_dtype())
    f["text/scalar"] = "a word"
    f["text/utf8"] = np.array(["\u00e4".encode(), b"b"], h5py.string_dtype("utf-8", 4))
    f.create_dataset("enum", data=np.array([0, 1, -3, 7], "i2"), dtype=COLOURS)
    f["bool"] = np.array([True, False])
    f["complex"] = np.array([1 + 2j, -0.5j], "c16")
    f["opaque"] = np.array([b"\x01\x02\x03\x04", b"\xff\x00\xff\x00"], "V4")
    points = np.zeros(3, POINT)
    points["x"], points["name"] = [0.1, 2, 3], [b"a", b"bb", b""]
    points["grid"] = np.arange(12).reshape(3, 2, 2)
    f["compound"] = points
    nested = np.zeros(2, NESTED)
    nested[0] = (7, "seven", np.arange(3, dtype="i4"), points[1])
    nested[1] = (8, "", np.zeros(0, "i4"), points[2])
    f["nested"] = nested
    lists = f.create_dataset("vlen", (3,), h5py.vlen_dtype("f4"))
    lists[0], lists[1], lists[2] = [1, 2.5], [], [3]
    f.create_dataset("arrays", (2,), np.dtype(("i4", (2, 3))))[:] = np.arange(12).reshape(2, 2, 3)
    f["empty"] = h5py.Empty("f8")
    f["none"] = np.zeros((0, 3))
    grid = np.arange(7 * 11, dtype="i4").reshape(7, 11)
    f.create_dataset("chunked/plain", data=grid, chunks=(3, 4), maxshape=(None, 20))
    f.create_dataset("chunked/packed", data=grid, chunks=(3, 4), compression="gzip", shuffle=True, fletcher32=True)
    f.create_dataset("chunked/lzf", data=grid, chunks=(7, 2), compression="lzf")
    f.create_dataset("chunked/unwritten", (5, 5), "i2", chunks=(2, 2), fillvalue=9)
    f["cube"] = np.arange(24.0).reshape(2, 3, 4)


def datasets(f):
    found = []
    f.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def made():
    with h5py.File("a.h5", "w") as f:
        fill(f)
        g = f["chunked"].attrs
        g["units"], g["shape"], g["none"] = "m/s", np.arange(6).reshape(2, 3), h5py.Empty("i4")
        g["texts"], g["colour"] = ["a", "b\u00e4"], np.array(1, COLOURS)
        f["soft"], f["dangling"] = h5py.SoftLink("/chunked"), h5py.SoftLink("/nowhere")
        f["elsewhere"], f["hard"] = h5py.ExternalLink("b.h5", "/x"), f["cube"]
        f["type"] = np.dtype("f4")
    return h5py.File("a.h5")


def check_every_class_is_read(folder):
    with made() as f:
        for dataset in datasets(f):
            got = shown("cat", "--json", "a.h5", dataset.name)
            wanted = plain(dataset[()])
            if dataset.name == "/enum":
                wanted = ["RED", "GREEN", "BLUE", 7]
            elif dataset.name == "/bool":
                wanted = ["TRUE", "FALSE"]
            elif dataset.shape and 0 in dataset.shape:
                wanted = []
            elif dataset.name == "/text/vlen" or dataset.name == "/nested":
                # A written empty string is no null string.
                assert "null" not in json.dumps(got["data"]), got
            assert got["data"] == wanted, (dataset.name, got["data"], wanted)
            assert got["shape"] == (None if dataset.shape is None else list(dataset.shape)), dataset.name


def check_parts(folder):
    with made() as f:
        for name, dims in (("chunked/plain", 2), ("chunked/packed", 2), ("cube", 3), ("vlen", 1), ("compound", 1)):
            for text in ("0", "-1", ":2", "1::2", "...", "..., 1", "0:0", "2:,1:3", "-2:, ::3", "1,:2,1"):
                if text.count(",") + 1 > dims + ("..." in text):
                    continue
                part = eval(f"np.s_[{text}]")  # noqa: S307
                wanted = f[name][part]
                got = shown("cat", "--json", "a.h5", name, "--slice", text)
                if np.size(wanted) or name == "vlen":
                    assert got["data"] == plain(wanted), (name, text, got["data"])
                assert got["shape"] == list(np.shape(f[name][part])) or name in ("vlen", "compound"), (name, text)
        said = run("cat", "a.h5", "cube", "--slice", "2", code=1)
        assert "out of range" in said, said


def check_text_and_bytes(folder):
    with made() as f:
        rows = run("cat", "a.h5", "/chunked/packed").decode().splitlines()
        assert [[int(n) for n in row.split()] for row in rows] == f["chunked/packed"][:].tolist()
        assert run("cat", "a.h5", "text/vlen").decode().splitlines() == ['"one"', '""', '"zw\u00f6lf \\"x\\"\\n"']
        assert run("cat", "a.h5", "enum").split() == [b"RED", b"GREEN", b"BLUE", b"7"]
        planes = run("cat", "a.h5", "cube").decode().split("\n\n")
        assert [np.fromstring(plane.replace("\n", " "), sep=" ").tolist() for plane in planes] == [
            plane.ravel().tolist() for plane in f["cube"][:]]
        for name in ("chunked/packed", "int/i2be", "compound", "float/f2le"):
            assert run("cat", "--raw", "a.h5", name) == f[name][()].tobytes(), name
        assert run("cat", "--raw", "a.h5", "cube", "--slice", ":,1") == f["cube"][:, 1].tobytes()
        assert "--json" in run("cat", "--raw", "a.h5", "vlen", code=1)
        assert "no dataset but a group" in run("cat", "a.h5", "int", code=1)
        assert "nothing is at" in run("cat", "a.h5", "/missing", code=1)


def check_references(folder):
    with made() as f:
        pass
    with h5py.File("a.h5", "r+") as f:
        region = f["cube"].regionref[0:1, :, 2]
        f["refs"] = np.array([f["cube"].ref, f["int"].ref, h5py.Reference()], h5py.ref_dtype)
        f["regions"] = np.array([region], h5py.regionref_dtype)
        f["cube"].attrs["of"] = f["chunked"].ref
    got = shown("cat", "--json", "a.h5", "refs")["data"]
    assert got[0]["path"] in ("/cube", "/hard") and got[1]["path"] == "/int" and got[2] is None, got
    got = shown("cat", "--json", "a.h5", "regions")["data"][0]
    assert got["kind"] == "region" and got["path"] in ("/cube", "/hard"), got
    got = shown("cat", "--json", "a.h5", "cube", "--attribute", "of")["data"]
    assert got["path"] in ("/chunked",), got
    assert run("cat", "a.h5", "refs").split()[1:] == [b"</int>", b"NULL"]


def check_lists(folder):
    with made() as f:
        entries = {entry["path"]: entry for entry in shown("ls", "--json", "a.h5")}
        assert sorted(entries) == sorted("/" + name for name in f), sorted(entries)
        assert entries["/soft"]["kind"] == "soft link" and entries["/soft"]["target"] == "/chunked"
        assert entries["/elsewhere"] | {"file": "b.h5", "target": "/x"} == entries["/elsewhere"]
        assert entries["/type"]["kind"] == "datatype" and entries["/chunked"]["kind"] == "group"
        for entry in shown("ls", "--json", "a.h5", "/soft"):
            dataset = f[entry["path"]]
            assert entry["shape"] == list(dataset.shape) and entry["chunks"] == list(dataset.chunks)
            assert entry["maxshape"] == list(dataset.maxshape) and entry["bytes"] == dataset.nbytes
            assert [one["name"] for one in entry["filters"]] == {
                "packed": ["shuffle", "deflate", "fletcher32"], "lzf": ["lzf"]}.get(entry["path"].split("/")[-1], [])
            if entry["filters"]:
                assert entry["stored_bytes"] == dataset.id.get_storage_size(), entry
            assert entry["stored_blocks"] == dataset.id.get_num_chunks()
        text = run("ls", "-l", "a.h5", "chunked").decode()
        assert "{7/unlimited, 11/20}  int32 LE  chunked {3, 4}" in text and "shuffle + deflate(4) + fletcher32" in text, text
        every = [entry["path"] for entry in shown("tree", "--json", "a.h5")]
        names = ["/"]
        f.visit_links(lambda name: names.append("/" + name))
        assert sorted(every) == sorted(names), set(every) ^ set(names)
        top = [entry["path"] for entry in shown("tree", "--json", "--depth", "1", "a.h5")]
        assert sorted(top) == sorted(["/", *("/" + name for name in f)])
        types = {"enum": "enum int16 LE {", "text/vlen": "string UTF-8", "compound": "compound {x: float32 LE, name: string[5]",
                 "vlen": "vlen float32 LE", "arrays": "array[2,3] int32 LE", "opaque": "opaque[4]", "int/u8be": "uint64 BE"}
        for name, text in types.items():
            assert shown("ls", "--json", "a.h5", name)[0]["type"]["text"].startswith(text), name


def check_cycles_end(folder):
    with h5py.File("a.h5", "w") as f:
        f["g/inner/back"] = f["/"]
        f["g/inner/self"] = f["g/inner"]
        f["again"] = f["g"]
    every = shown("tree", "--json", "a.h5")
    assert [entry["path"] for entry in every] == ["/", "/again", "/again/inner", "/again/inner/back", "/again/inner/self", "/g"]
    assert [entry["path"] for entry in every if entry.get("shown_before")] == ["/again/inner/back", "/again/inner/self", "/g"]


def check_info(folder):
    with made() as f:
        got = shown("info", "--json", "a.h5", "/chunked")
        assert set(got["attributes"]) == set(f["chunked"].attrs)
        for name, value in f["chunked"].attrs.items():
            if name == "colour":
                value = "GREEN"
            elif name == "texts":
                value = list(value)
            assert got["attributes"][name].get("value") == plain(value), name
        got = shown("info", "--json", "a.h5", "chunked/unwritten")
        assert got["fill_value"] == 9 and got["stored_bytes"] == 0
        whole = shown("info", "--json", "a.h5")
        assert whole["datasets"] == len({d.id.__hash__() for d in datasets(f)}), whole
        assert whole["bytes"] == os.path.getsize("a.h5") and whole["versions_kept"] >= 1
        assert whole["bytes"] == whole["data_bytes"] + whole["map_bytes"] + whole["other_bytes"]
        head = Path("a.h5").read_bytes()[:20]
        assert whole["format"] == int.from_bytes(head[16:20], "little")
        assert b"vacuum frees at most this" in run("info", "a.h5")


def check_versions(folder):
    store = f"file://{folder}/store/a.h5"
    for name in ("a.h5", store):
        with h5py.File(name, "w") as f:
            f["x"] = [1, 2]
            f.flush()
            with_x = shown("versions", "--json", name)["versions"][0]["number"]
            f["x"][0] = 5
            f["y"] = 1
        assert shown("cat", "--json", name, "x")["data"] == [5, 2]
        assert shown("cat", "--json", f"{name}@v={with_x}", "x")["data"] == [1, 2]
        assert [e["path"] for e in shown("ls", "--json", f"{name}@v={with_x}")] == ["/x"]
        assert "version" in run("ls", f"{name}@v=x", code=1)


def check_what_is_no_container(folder):
    with h5py.File("native.h5", "w", driver="core") as f:
        f["x"] = 1
    assert "native HDF5 file" in run("ls", "native.h5", code=1)
    assert "seen by the process that made it alone" in run("ls", "memory:x/a.h5", code=1)
    run("cat", "missing.h5", "/x", code=1)
    with h5py.File("a.h5", "w") as f:
        layout = h5py.VirtualLayout((2,), "i4")
        layout[:] = h5py.VirtualSource("b.h5", "x", (2,))
        f.create_virtual_dataset("v", layout)
    assert "virtual layout" in run("cat", "a.h5", "v", code=1)
    assert shown("ls", "--json", "a.h5")[0]["layout"] == "virtual"


if __name__ == "__main__":
    main(globals())
