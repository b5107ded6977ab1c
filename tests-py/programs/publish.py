"""Published containers, read by zarr-python through references: each value equals h5py's, for every kind of data,
whatever is written, closed and vacuumed later."""
# requires: zarr.txt
# only: h5lake
# schemes: file,s3
# needs: tool

import json
import os
import random
import subprocess
import sys
import zlib

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main  # noqa: E402
from zarr_views import agrees, datasets, is_same, opened, publish, run, shown  # noqa: E402

NAME = "a.h5"
RNG = np.random.default_rng(11)


def numbers(*shape, dtype="i4"):
    return RNG.integers(0, 1000, shape).astype(dtype)


def said(told, path):
    [found] = [dataset for dataset in told["datasets"] if dataset["path"] == path]
    return found


def check_filtered_chunks(folder):
    with h5py.File(NAME, "w") as f:
        f.create_dataset("gzip", data=numbers(1000, 130), chunks=(200, 100), compression="gzip", shuffle=True)
        f.create_dataset("sums", data=numbers(70_001), chunks=(9_999,), compression="gzip", fletcher32=True)
        f.create_dataset("alone", data=numbers(70_001, dtype="u1"), chunks=(20_001,), fletcher32=True)
        f.create_dataset("shuffle", data=numbers(70_000, dtype=">f8"), chunks=(10_000,), shuffle=True)
        f.create_dataset("noise", data=RNG.integers(0, 256, 300_000).astype("u1"), chunks=(100_000,), compression="gzip")
        sparse = f.create_dataset("sparse", (1000, 1000), "f8", chunks=(100, 100), compression="gzip")
        sparse[150:250, 420] = 3
        f.create_dataset("grows", data=numbers(5_000), chunks=(1_000,), maxshape=(None,), compression="gzip")
        skipped = f.create_dataset("skipped", (60_000,), "i4", chunks=(20_000,), compression="gzip", shuffle=True)
        for n, mask in enumerate((0b10, 0b01, 0b11)):
            data = numbers(20_000)
            stored = data if mask & 1 else np.ascontiguousarray(data.view("u1").reshape(-1, 4).T)
            skipped.id.write_direct_chunk((n * 20_000,), stored.tobytes() if mask & 2 else zlib.compress(stored.tobytes()), mask)
    told = publish(NAME)
    assert agrees(NAME) == 8
    assert said(told, "/skipped")["reasons"] == {"a filter was skipped": 3}, told
    for path in ("/gzip", "/sums", "/shuffle"):
        assert said(told, path)["copied"] == 0 or "small, stored in the map" in said(told, path)["reasons"], told
    assert said(told, "/gzip")["referenced"] == 10 and said(told, "/noise")["referenced"] + said(told, "/noise")["copied"] == 3
    assert not told["left_out"]


def check_filters_of_plugins(folder):
    import hdf5plugin

    data = np.cumsum(numbers(60_000)).astype("i4")
    with h5py.File(NAME, "w") as f:
        kinds = {"blosc": hdf5plugin.Blosc(cname="zstd", shuffle=2), "zstd": hdf5plugin.Zstd(), "bzip2": hdf5plugin.BZip2(),
                 "lz4": hdf5plugin.LZ4(), "bitshuffle": hdf5plugin.Bitshuffle(), "blosc2": hdf5plugin.Blosc2()}
        for name, kind in kinds.items():
            f.create_dataset(name, data=data, chunks=(20_000,), **kind)
        f.create_dataset("lzf", data=data, chunks=(20_000,), compression="lzf")
        f.create_dataset("offset", data=data, chunks=(20_000,), scaleoffset=0)
        noise = RNG.integers(0, 256, 90_000).astype("u1")
        for name in ("blosc", "zstd"):
            f.create_dataset(f"noise_{name}", data=noise, chunks=(40_000,), **kinds[name])
    told = publish(NAME)
    assert agrees(NAME) == 10, told
    for path in ("/blosc", "/zstd", "/bzip2"):
        assert said(told, path)["referenced"] == 3, told
    for path in ("/lz4", "/bitshuffle", "/lzf", "/offset", "/blosc2"):
        assert said(told, path)["reasons"] == {"Zarr has no codec for its filters": 3}, told


def check_chunks_without_filters(folder):
    with h5py.File(NAME, "w") as f:
        f.create_dataset("line", data=numbers(250_000), chunks=(60_000,))
        f.create_dataset("plane", data=numbers(701, 333), chunks=(200, 100))
        f.create_dataset("box", data=numbers(31, 33, 35, dtype="f8"), chunks=(10, 20, 30))
        f.create_dataset("small", data=numbers(100), chunks=(30,))
        short = f.create_dataset("short", (100_000,), "i4", chunks=(40_000,), maxshape=(None,))
        short[:50_000] = numbers(50_000)
        holes = f.create_dataset("holes", (200_000,), "i4", chunks=(50_000,))
        holes[10:20_000] = 7
        holes[30_000:40_000] = 8
        holes[160_000] = 9
        parts = f.create_dataset("parts", (200_000,), "i4", chunks=(50_000,))
        f.create_dataset("behind", data=numbers(100_000), chunks=(50_000,))
    for n in range(0, 200_000, 7_000):
        with h5py.File(NAME, "r+") as f:
            f["parts"][n : n + 7_000] = numbers(min(7_000, 200_000 - n))
    told = publish(NAME)
    assert agrees(NAME) == 8
    assert said(told, "/line")["referenced"] == 5, "the short last one, too"
    assert said(told, "/plane")["referenced"] >= 9, told


def check_contiguous_data(folder):
    with h5py.File(NAME, "w") as f:
        for name, shape, dtype in (("line", (700_000,), "f8"), ("rows", (3_000, 128), "f8"), ("odd", (5_001, 301), "i4"), ("wide", (7, 300_001), "i4"),
                                   ("deep", (7, 301, 307), ">i4"), ("bytes", (3_000_001,), "u1")):
            f.create_dataset(name, data=numbers(*shape, dtype=dtype))
        f.create_dataset("small", data=numbers(10, 10))
        f.create_dataset("scalar", data=3.5)
        f.create_dataset("empty", shape=(0, 3), dtype="f4")
        f.create_dataset("unwritten", shape=(900, 900), dtype="f4")
        f.create_dataset("half", shape=(900_000,), dtype="f4")
        f.create_dataset("vast", shape=(1 << 45,), dtype="f4")
        f["vast"][1 << 44] = 1
        f.create_dataset("words", shape=(5_000, 7), dtype=h5py.string_dtype())
        f["words"][4_000] = "ä"
        f["half"][300_000:700_000] = 5
    told = publish(NAME)
    assert agrees(NAME, left_out={"/vast"}) == 13
    assert opened()["vast"][(1 << 44) - 1 : (1 << 44) + 2].tolist() == [0, 1, 0]
    for path in ("/odd", "/wide", "/deep"):
        found = said(told, path)
        assert found["copied_bytes"] < 0.1 * found["referenced_bytes"], found
    assert said(told, "/line")["copied"] == 0 and said(told, "/unwritten")["copied"] == 0


def check_types(folder):
    compound = np.dtype([("a", "i4"), ("b", "f8"), ("c", "S3")])
    padded = np.dtype({"names": ["a", "b"], "formats": ["i1", "f4"], "offsets": [0, 4], "itemsize": 12})
    with h5py.File(NAME, "w") as f:
        for dtype in ("i1", "u1", "<i2", ">u2", "<i4", ">i8", "<u8", "<f2", "<f4", ">f8", "?", "<c8", ">c16"):
            for name, size in (("small", 10), ("large", 20_000)):
                f.create_dataset(f"plain/{dtype.replace('<', 'l').replace('>', 'b')}_{name}", data=numbers(size, dtype=dtype), chunks=(size // 2,))
        f["strings/fixed"] = np.array([b"", b"ab", b"abcde"], "S5")
        f.create_dataset("strings/variable", data=["", "ab", "ä€", "x" * 3000] * 40, dtype=h5py.string_dtype(), chunks=(33,))
        f.create_dataset("strings/bytes", data=[b"\xff\x00"[:1], b"ab"], dtype=h5py.string_dtype("ascii"))
        f.create_dataset("strings/never", (50,), dtype=h5py.string_dtype(), chunks=(20,))
        f["strings/scalar"] = "text"
        f["times"] = np.array([0, 1, 1_700_000_000], "M8[s]").astype(h5py.opaque_dtype(np.dtype("M8[s]")))
        f["opaque"] = np.array([b"abc", b"def"], "V3")
        f["compound"] = np.array([(1, 2.5, b"x"), (3, 4.5, b"abc")], compound)
        f["padded"] = np.array([(1, 2.5), (3, 4.5)], padded)
        f.create_dataset("sparse", (100,), compound, chunks=(10,))[15] = (1, 2, b"z")
        f["enum"] = np.array([0, 1, 2], h5py.enum_dtype({"a": 0, "b": 1, "c": 2}, "i2"))
        text = h5py.h5t.C_S1.copy()
        text.set_size(6)
        text.set_strpad(h5py.h5t.STR_SPACEPAD)
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(f.id, b"blanks", text, space).write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab", b"", b"abcdef"], "S6"))
        array = h5py.h5t.array_create(h5py.h5t.STD_I32LE, (2, 3))
        made = h5py.h5d.create(f.id, b"arrays", array, space)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, numbers(3, 2, 3), array)
    told = publish(NAME)
    assert not told["left_out"], told["left_out"]
    assert agrees(NAME) == 26 + 13, told


def check_fill_values(folder):
    with h5py.File(NAME, "w") as f:
        for name, value, dtype in (("minus", -1.0, "f8"), ("nan", np.nan, "f4"), ("seven", 7, "i2"), ("yes", True, "?"), ("text", b"ab", "S3")):
            made = f.create_dataset(name, (100, 100), dtype, chunks=(10, 10), fillvalue=value)
            made[15:18, 20:60] = np.ones((3, 40)).astype(dtype)
            f.create_dataset(f"{name}_gzip", (1000,), dtype, chunks=(100,), fillvalue=value, compression="gzip")
        f.create_dataset("rows", (900, 900), "f4", fillvalue=2.5)
        f["rows"][100:200] = 1
        huge = f.create_dataset("huge", (1 << 40,), "i4", chunks=(1 << 16,), fillvalue=5)
        huge[100] = 1
        f["minus"].attrs["_FillValue"] = -1.0
    told = publish(NAME)
    group = opened()
    with h5py.File(NAME, "r") as f:
        for path, dataset in datasets(f).items():
            if path != "/huge":
                is_same(group[path[1:]][...], shown(dataset), path)
        is_same(group["huge"][: 1 << 17], f["huge"][: 1 << 17], "huge")
    assert said(told, "/huge")["masked"] and not said(told, "/seven")["masked"]
    assert said(told, "/minus")["masked"], "as its attribute says"


def check_groups_links_and_attributes(folder):
    with h5py.File(NAME, "w") as f:
        f.attrs["title"] = "ä"
        f.attrs["n"] = 3
        deep = f.create_group("a/b/c")
        deep.attrs["many"] = np.arange(6.0).reshape(2, 3)
        deep["x"] = numbers(5)
        deep["x"].attrs.update({"nan": np.nan, "inf": [np.inf, -np.inf], "yes": True, "f4": np.float32(0.1), "words": ["a", "b"], "fixed": np.bytes_(b"k"),
                                "big": np.uint64(2**64 - 1)})
        f["again"] = deep["x"]
        f["soft"] = h5py.SoftLink("/a/b/c/x")
        f["nowhere"] = h5py.SoftLink("/none")
        f["other"] = h5py.ExternalLink("b.h5", "/x")
        f["a/loop"] = f["a"]
        f["named"] = np.dtype("f8")
        f.create_dataset("sequences", (3,), h5py.vlen_dtype("i4"))
        f.create_dataset("references", (3,), h5py.ref_dtype)
        f["nothing"] = h5py.Empty("f4")
        f["x"] = 1
        f["x"].attrs["pair"] = np.zeros((), [("a", "i4")])
        f["x"].attrs["leads"] = f.ref
        f["odd\\name"] = 1
        f[".zarray"] = 1
        f["__x"] = 1
        f["with blank"] = 1
        f["nested"] = np.zeros(2, [("a", [("b", "i4"), ("c", "i4")])])
        f["inner"] = np.zeros(2, [("a", "i4", (2,))])
    told = publish(NAME)
    left = {entry["path"]: entry["reason"] for entry in told["left_out"]}
    assert set(left) == {"/nowhere", "/other", "/a/loop", "/named", "/sequences", "/references", "/nothing", "/x@pair", "/x@leads", "/odd\\name",
                         "/.zarray", "/nested", "/inner"}, left
    assert "not shown: /sequences" in run("publish", NAME, "--kerchunk", "again.json")
    agrees(NAME, left_out=set(left))
    assert not any(path.lstrip("/") in opened() for path in left if "@" not in path)
    group = opened()
    is_same(group["soft"][...], group["a/b/c/x"][...], "soft")
    assert group.attrs["title"] == "ä" and group["a/b/c"].attrs["many"] == [[0, 1, 2], [3, 4, 5]]
    attributes = group["again"].attrs
    assert attributes["big"] == 2**64 - 1 and attributes["yes"] is True and np.isnan(attributes["nan"]) and attributes["inf"] == [np.inf, -np.inf]
    assert attributes["fixed"] == "k" and attributes["words"] == ["a", "b"] and np.float32(attributes["f4"]) == np.float32(0.1)


def grow(n):
    """Runs a session of a writer: overwrites, appends, deletes."""
    with h5py.File(NAME, "r+") as f:
        for name in ("raw", "gzip", "edges", "plain"):
            f[name][...] = numbers(*f[name].shape)
        f["tail"].resize((f["tail"].shape[0] + 3_000,))
        f["tail"][-3_000:] = n
        f.create_dataset(f"more{n}", data=numbers(200_000), chunks=(50_000,))
        if f"more{n - 2}" in f:
            del f[f"more{n - 2}"]


def begin():
    with h5py.File(NAME, "w") as f:
        f.create_dataset("raw", data=numbers(300_000), chunks=(50_000,))
        f.create_dataset("gzip", data=numbers(300_000), chunks=(50_000,), compression="gzip", shuffle=True)
        f.create_dataset("edges", data=numbers(330, 330), chunks=(100, 100))
        f.create_dataset("plain", data=numbers(1_001, 301))
        f.create_dataset("tail", data=numbers(50_000), chunks=(20_000,), maxshape=(None,))
        f.create_dataset("text", data=["a", "bc"] * 30, dtype=h5py.string_dtype())


def values(refs):
    group = opened(refs)
    return {name: group[name][...] for name in group.array_keys()}


def check_references_stay_right(folder):
    begin()
    for n in range(4):
        grow(n)
    first = publish(NAME, "first.json")
    wanted = values("first.json")
    agrees(NAME, "first.json")
    second = None
    for n in range(4, 40):
        grow(n)
        if n % 9 == 0:
            run("vacuum", NAME)
        if n == 20:
            second = publish(NAME, "second.json")
            later = values("second.json")
    run("vacuum", NAME)
    with h5py.File(NAME, "r+") as f:
        for name in list(f):
            del f[name]
    run("vacuum", NAME)
    for refs, values_then in (("first.json", wanted), ("second.json", later)):
        found = values(refs)
        assert set(found) == set(values_then)
        for name, data in values_then.items():
            is_same(found[name], data, f"{refs}: {name}")
    listed = json.loads(run("publish", "--json", NAME))
    assert [entry["version"] for entry in listed] == [second["version"], first["version"]]
    found = json.loads(run("verify", "--json", NAME))["found"]
    assert found == [], found
    held = json.loads(run("vacuum", "--json", NAME))["held_by_tags"]
    assert held > 0
    for told in (first, second):
        run("publish", "--withdraw", f"{NAME}@v={told['version']}")
    assert json.loads(run("publish", "--json", NAME)) == []
    assert json.loads(run("vacuum", "--json", NAME))["held_by_tags"] == 0


WRITER = """
import sys, h5py, numpy as np
sys.path.insert(0, sys.argv[1])
import publish
print("begun", flush=True)
n = 10
while True:
    publish.grow(n)
    n += 1
"""


def check_beside_a_writer_of_many(folder):
    begin()
    env = {**os.environ, "H5LAKE_WRITERS": "many"}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, os.path.dirname(__file__)], env=env, stdout=subprocess.PIPE)
    try:
        writer.stdout.readline()
        seen = {}
        for n in range(3):
            told = json.loads(run("publish", "--json", NAME, "--kerchunk", f"{n}.json", H5LAKE_WRITERS="many"))
            seen[f"{n}.json"] = values(f"{n}.json")
            agrees(f"{NAME}@v={told['version']}", f"{n}.json")
        assert writer.poll() is None
        for refs, wanted in seen.items():
            for name, data in values(refs).items():
                is_same(data, wanted[name], f"{refs}: {name}")
    finally:
        writer.kill()
        writer.wait()


def check_versions_and_errors(folder):
    begin()
    run("tag", NAME, "paper")
    grow(1)
    told = publish(f"{NAME}@tag=paper")
    assert publish(f"{NAME}@v={told['version']}", "again.json")["version"] == told["version"], "published once"
    assert len(json.loads(run("publish", "--json", NAME))) == 1
    agrees(f"{NAME}@tag=paper")
    run("tag", "--delete", NAME, "paper")
    agrees(f"{NAME}@v={told['version']}")
    assert f"published-v{told['version']}" in run("versions", NAME)
    assert "published versions" in run("tag", "--delete", NAME, f"published-v{told['version']}", code=1)
    assert "published versions" in run("tag", NAME, "published-v1", code=1)
    assert "is not retained" in run("publish", f"{NAME}@v=999", "--kerchunk", "no.json", code=1)
    before = json.loads(run("publish", "--json", NAME))
    assert "none/no.json" in run("publish", NAME, "--kerchunk", "none/no.json", code=1)
    assert json.loads(run("publish", "--json", NAME)) == before, "what could not be made is not held"
    publish(NAME, "newest.json")
    assert "name one" in run("publish", "--withdraw", NAME, code=1)
    run("publish", "--withdraw", f"{NAME}@v={told['version']}")
    assert "is not published" in run("publish", "--withdraw", f"{NAME}@v={told['version']}", code=1)
    run("publish", "--withdraw", NAME)
    assert "no version is published" in run("publish", NAME)
    assert "no version is published" in run("publish", "--withdraw", NAME, code=1)


def bytes_read(*arguments):
    """Returns the number of bytes that the tool reads, including its own files."""
    tool = subprocess.Popen([os.environ["TOOL"], *arguments], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, tool.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{tool.pid}/io") as io:
        counts = dict(line.split(": ") for line in io.read().splitlines())
    assert tool.wait() == 0
    return int(counts["rchar"])


def check_what_did_not_change_is_not_read(folder):
    with h5py.File(NAME, "w") as f:
        f.create_dataset("x", data=numbers(4_000_000), chunks=(250_000,), maxshape=(None,))
        f.create_dataset("gzip", data=numbers(4_000_000), chunks=(250_000,), compression="gzip")
    publish(NAME)
    with h5py.File(NAME, "r+") as f:
        f["x"].resize((4_100_000,))
        f["x"][4_000_000:] = 1
    if "store=" in os.environ["HDF5_VOL_CONNECTOR"].replace("store=file:", ""):
        return  # bytes that are read over a network are not counted
    read = bytes_read("publish", NAME, "--kerchunk", "refs.json")
    most = bytes_read("cat", NAME, "/x", "--raw")
    assert read < 1_000_000 < 16_000_000 < most, (read, most)
    agrees(NAME)


def check_another_url(folder):
    begin()
    publish(NAME, "refs.json", "--url", "https://data.example.org/x/")
    urls = {value[0] for value in json.load(open("refs.json"))["refs"].values() if isinstance(value, list)}
    assert all(url.startswith("https://data.example.org/x") for url in urls), urls


def random_dataset(f, n, dice):
    rank = dice.choice([0, 1, 1, 2, 3])
    shape = tuple(dice.choice([0, 1, 3, 17, 64, 200]) if rank > 1 else dice.choice([0, 1, 50, 5_000, 400_000]) for _ in range(rank))
    dtype = dice.choice(["i1", "<i2", ">i4", "<u8", "<f4", ">f8", "?", "S3", "<c8"])
    options = {}
    if rank and min(shape) > 0 and dice.random() < 0.8:
        options["chunks"] = tuple(dice.randint(1, side) if side < 1000 else dice.randint(side // 9, side) for side in shape)
        if dice.random() < 0.5:
            options.update(compression="gzip", shuffle=dice.random() < 0.5, fletcher32=dice.random() < 0.3)
        if dice.random() < 0.3:
            options["maxshape"] = (None,) * rank
    if dice.random() < 0.3:
        options["fillvalue"] = np.array(dice.choice([0, 1, 7])).astype(dtype)
    made = f.create_dataset(f"d{n}", shape, dtype, **options)
    random_write(made, dice)


def random_write(made, dice):
    if made.size == 0:
        return
    part = tuple(slice(*sorted((dice.randint(0, side), dice.randint(0, side)))) for side in made.shape) if dice.random() < 0.6 else ...
    if made.shape == ():
        part = ()
    wanted = made[part]
    data = numbers(*np.shape(wanted), dtype="u2").astype(made.dtype) if dice.random() < 0.8 else np.zeros(np.shape(wanted), made.dtype)
    made[part] = data


def check_random_containers(folder):
    for seed in range(int(os.environ.get("PUBLISH_SEEDS", 12))):
        dice = random.Random(seed)
        with h5py.File(NAME, "w") as f:
            for n in range(8):
                random_dataset(f, n, dice)
        for _ in range(dice.randint(0, 4)):
            with h5py.File(NAME, "r+") as f:
                for name in f:
                    if f[name].maxshape and None in f[name].maxshape and dice.random() < 0.4:
                        f[name].resize([max(1, side + dice.randint(-9, 30)) for side in f[name].shape])
                    random_write(f[name], dice)
        told = publish(NAME, f"{seed}.json")
        assert not told["left_out"], (seed, told["left_out"])
        try:
            assert agrees(NAME, f"{seed}.json") == 8
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from None


if __name__ == "__main__":
    main(globals())
