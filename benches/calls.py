"""Ordinary calls of h5py, each repeated many times: the costs of a program that moves little data."""

import numpy as np

from rows import Row, Wrong

TEXT = "a text of some length"


class Calls(Row):
    """A row of many metrics, each of which is the least duration of a call in five attempts."""

    tries = 5

    def each(self, metric, count, call, wanted=None):
        """Times calls, given their number; `wanted` is the required result of the last call."""
        count = max(2, count * self.size // 1000)
        best = {}
        for _ in range(self.tries):
            with self.clock(metric, count):
                for n in range(count):
                    answer = call(n)
            for kept in (self.times, self.work):
                best[id(kept)] = min(kept[metric], best.get(id(kept), kept[metric]))
        for kept in (self.times, self.work):
            kept[metric] = best[id(kept)]
        if wanted is not None and not np.array_equal(answer, wanted(count - 1)):
            raise Wrong(f"{metric}: {answer!r} is not what was written")

    def write(self):
        """Times calls that create and change objects."""
        with self.side.create() as f:
            self.names = iter(range(1 << 30))
            self.objects(f)
            self.elements(f)
            self.attributes(f)

    def new(self, group, make):
        """Returns a call that creates something under a new name."""
        return lambda _: make(group, f"n{next(self.names)}")

    def objects(self, f):
        """Times calls for groups, datasets and links."""
        import h5py
        made = f.create_group("made")
        self.each("make a group", 500, self.new(made, lambda g, name: g.create_group(name)))
        self.each("make a scalar", 300, self.new(made, lambda g, name: g.__setitem__(name, 3.5)))
        self.each("make a scalar text", 300, self.new(made, lambda g, name: g.__setitem__(name, TEXT)))
        self.each("make a dataset that can grow", 300, self.new(made, lambda g, name: g.create_dataset(
            name, (0,), "f4", maxshape=(None,), chunks=(1024,))))
        self.each("make a dataset of 100 with gzip", 200, self.new(made, lambda g, name: g.create_dataset(
            name, data=np.arange(100.0), compression="gzip")))
        self.each("make a soft link", 500, self.new(made, lambda g, name: g.__setitem__(name, h5py.SoftLink("/made"))))
        links = f.create_group("links")
        for n in range(1000):
            links[f"link {n}"] = h5py.SoftLink("/made")
        tree = f.create_group("tree/of/groups")
        tree["leaf"] = np.arange(10)
        f["tree"].attrs["unit"] = "m"
        self.each("copy a small tree", 100, self.new(made, lambda g, name: f.copy("tree", g, name)))
        self.each("move there and back", 300, lambda _: (f.move("links", "moved"), f.move("moved", "links")))

    def elements(self, f):
        """Times writes of parts of datasets."""
        plain = f.create_dataset("plain", data=np.arange(100_000.0))
        chunked = f.create_dataset("chunked", data=np.arange(100_000.0), chunks=(10_000,))
        plane = f.create_dataset("plane", data=np.arange(1e6, dtype="f4").reshape(1000, 1000), chunks=(100, 100))
        piece = np.arange(100.0)

        def write_to(dataset):
            return lambda n: dataset.__setitem__(slice(n * 10, n * 10 + 100), piece)
        self.each("write an element", 1000, lambda n: plain.__setitem__(n, n))
        self.each("write an element of a chunk", 1000, lambda n: chunked.__setitem__(n, n))
        self.each("write 100 elements", 1000, write_to(plain))
        self.each("write 100 elements of a chunk", 1000, write_to(chunked))
        column = np.arange(1000, dtype="f4")
        self.each("write a column of 10 chunks", 200, lambda n: plane.__setitem__((slice(None), n), column + n))
        points = np.zeros((1000, 1000), bool)
        points[::20, ::20] = True
        mask = f.create_dataset("mask", (1000, 1000), "f4")
        self.each("write 2,500 elements by a mask", 20, lambda n: mask.__setitem__(points, n))
        grown = f.create_dataset("grown", (0,), "f4", maxshape=(None,), chunks=(1024,))
        self.each("grow by 10 elements and write them", 500, lambda _: (
            grown.resize((len(grown) + 10,)), grown.__setitem__(slice(len(grown) - 10, None), 1)))
        texts = f.create_dataset("texts", data=[TEXT] * 1000)
        self.each("write a text of a dataset", 500, lambda n: texts.__setitem__(n % 1000, TEXT))
        plain[:], chunked[:] = np.arange(100_000.0), np.arange(100_000.0)
        f.create_dataset("records", data=np.zeros(1000, [("a", "i4"), ("b", "f8"), ("c", "S8")]))
        self.each("flush after an element", 100, lambda n: (plain.__setitem__(n, n), f.flush()))
        self.each("flush with nothing to do", 500, lambda _: f.flush())

    def attributes(self, f):
        """Times calls for the attributes of one object."""
        attributes = f.create_group("attributes").attrs
        for n in range(40):
            attributes[f"a{n}"] = n if n % 2 else TEXT
        row = np.arange(10.0)
        self.each("replace an attribute", 500, lambda n: attributes.__setitem__("a1", n))
        self.each("replace a text attribute", 500, lambda _: attributes.__setitem__("a2", TEXT))
        self.each("replace an attribute of 10 numbers", 500, lambda _: attributes.__setitem__("row", row))
        self.each("change an attribute", 500, lambda n: attributes.modify("a3", n))
        self.each("make and delete an attribute", 500, lambda _: (
            attributes.__setitem__("gone", 1), attributes.__delitem__("gone")))

    def read(self):
        """Times calls that only read."""
        with self.side.open() as f:
            self.look(f)
            self.parts(f)
        self.each("open, read an element, close", 100, self.reopen, lambda _: 7.0)

    def reopen(self, _):
        """Times the calls of a script that is started repeatedly."""
        with self.side.open() as f:
            return f["chunked"][7]

    def look(self, f):
        """Times queries of names, shapes and lists."""
        plain, links, attributes = f["plain"], f["links"], f["attributes"].attrs
        self.each("open a group", 1000, lambda _: f["links"])
        self.each("open a dataset", 1000, lambda _: f["plain"])
        self.each("open by a path of four", 1000, lambda _: f["tree/of/groups/leaf"])
        self.each("whether a name is there", 1000, lambda _: "plain" in f, lambda _: True)
        self.each("whether a name is not there", 1000, lambda _: "nothing" in f, lambda _: False)
        self.each("the name of a dataset", 1000, lambda _: plain.name, lambda _: "/plain")
        self.each("the parent of a dataset", 500, lambda _: plain.parent)
        self.each("shape", 1000, lambda _: plain.shape, lambda _: (100_000,))
        self.each("the number of links", 1000, lambda _: len(links), lambda _: 1000)
        self.each("list 1,000 links", 20, lambda _: len(list(links)), lambda _: 1000)
        self.each("visit the file", 2, lambda _: f.visit(lambda _: None))
        self.each("read an attribute", 1000, lambda _: attributes["a1"])
        self.each("read a text attribute", 1000, lambda _: attributes["a2"] == TEXT, lambda _: True)
        self.each("whether an attribute is there", 1000, lambda _: "a5" in attributes, lambda _: True)
        self.each("all of 41 attributes", 50, lambda _: len(dict(attributes)), lambda _: 41)

    def parts(self, f):
        """Times reads of parts of datasets."""
        plain, chunked, plane = f["plain"], f["chunked"], f["plane"]
        whole = np.arange(100_000.0)
        self.each("read an element", 1000, lambda n: plain[n * 97], lambda n: n * 97)
        self.each("read an element of a chunk", 1000, lambda n: chunked[n * 97], lambda n: n * 97)
        self.each("read 100 elements", 1000, lambda n: plain[n * 90:n * 90 + 100], lambda n: whole[n * 90:n * 90 + 100])
        self.each("read 100 elements of a chunk", 1000, lambda n: chunked[n * 90:n * 90 + 100],
                  lambda n: whole[n * 90:n * 90 + 100])
        self.each("read every tenth of 1,000", 1000, lambda n: plain[n * 90:n * 90 + 1000:10],
                  lambda n: whole[n * 90:n * 90 + 1000:10])
        self.each("read every tenth of 1,000 of a chunk", 1000, lambda n: chunked[n * 90:n * 90 + 1000:10],
                  lambda n: whole[n * 90:n * 90 + 1000:10])
        self.each("read a tile of 50 x 50", 500, lambda n: plane[n:n + 50, n:n + 50].shape, lambda _: (50, 50))
        chosen = list(range(0, 100_000, 1000))
        self.each("read 100 elements by a list", 20, lambda _: plain[chosen], lambda _: whole[chosen])
        texts, records = f["texts"], f["records"]
        self.each("read a text of a dataset", 500, lambda n: texts[n % 1000] == TEXT.encode(), lambda _: True)
        self.each("read 1,000 texts", 20, lambda _: len(texts[...]), lambda _: 1000)
        self.each("read a record", 500, lambda n: records[n]["a"], lambda _: 0)
        self.each("read a field of 1,000 records", 200, lambda _: records["b"].sum(), lambda _: 0)
        self.each("read as another type", 200, lambda _: plain.astype("f4")[:1000].sum() > 0, lambda _: True)
