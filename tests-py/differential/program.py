"""Makes a program from a seed: a list of steps, each of some lines of Python. A step uses names and shapes that the
generator remembers, but it need not succeed: native HDF5 and the connector only have to do the same. So steps can
be removed from a program, and the remaining steps are still a program."""

import math
import random

from types_and_shapes import (SPECIAL, Type, lossless, some_chunks, some_index, some_maxshape, some_selection,
                              some_shape, some_slab, some_type)

PROCESS = "--- another process"
NAMES = ["x", "y", "z", "data", "ü", "a b", "n" * 40]


class Node:
    """The state that the generator remembers of an object."""

    def __init__(self, kind, **facts):
        self.kind = kind
        self.shape = self.maxshape = self.chunks = self.type = None
        self.fixed = False
        self.filters = self.attrs = None
        self.__dict__.update(facts)
        self.attrs = self.attrs or []


class Generator:
    def __init__(self, seed):
        self.seed, self.rng = seed, random.Random(seed)
        self.steps, self.files = [], {"f": {"": Node("group")}, "g": {"": Node("group")}}
        self.latest = self.rng.random() < 0.5
        self.ordered = self.rng.random() < 0.3
        self.handles, self.regions, self.references = 0, False, False

    # --- what there is ---

    def number(self):
        return self.rng.randrange(10**6)

    def file(self):
        return "g" if self.rng.random() < 0.12 else "f"

    def pick(self, file, kind=None):
        """Returns the path of an object that should exist, or rarely a path without an object."""
        if self.rng.random() < 0.02:
            return "nothing/here"
        found = [p for p, n in self.files[file].items() if kind is None and p or n.kind == kind and (p or kind == "group")]
        return self.rng.choice(found) if found else None

    def node(self, file, path):
        return self.files[file].get(path) or Node("nothing", shape=(3,))

    def name(self, file):
        """Returns a path for a new object, mostly a free one."""
        for _ in range(5):
            group = self.pick(file, "group") or ""
            path = (group + "/" if group else "") + self.rng.choice(NAMES) + self.rng.choice(["", "1", "2", "3"])
            if path not in self.files[file] or self.rng.random() < 0.05:
                break
        return path

    def type(self, file, node=None):
        """Returns a type for data in a file. References are made only to objects of f. In g, or at the target of a
        link into another file, they would be addresses of a different file and have no meaning."""
        while True:
            kind = some_type(self.rng)
            self.regions |= "regionref" in kind.source
            self.references |= kind.references
            if not kind.references or file == "f" and (node is None or node.kind not in ("link", "nothing")):
                return kind

    def emit(self, text):
        self.steps.append(text)

    def put(self, file, path, node):
        if path not in self.files[file]:
            self.files[file][path] = node

    def beneath(self, file, path):
        return [p for p in self.files[file] if p == path or p.startswith(path + "/")]

    # --- opening ---

    def open(self, mode):
        words = ", libver='latest'" if self.latest else ""
        order = ", track_order=True" if self.ordered and mode == "w" else ""
        for file, name in (("f", "A"), ("g", "B")):
            self.emit(f"{file} = FILES['{file}'] = h5py.File({name}, {mode!r}{words}{order})")

    def close(self):
        self.emit("g.close()")
        self.emit("f.close()")

    def step_reopen(self):
        if self.rng.random() < 0.4:
            return self.emit(self.rng.choice(["f", "f", "g"]) + ".flush()")
        self.emit("dump(f)")
        self.close()
        if self.rng.random() < 0.7:
            self.emit(PROCESS)
        if self.rng.random() < 0.3:
            self.open("r")
            self.emit("dump(f)")
            if self.rng.random() < 0.2:
                self.emit("f.create_group('read only')")
                path = self.pick("f", "dataset")
                if path and self.node("f", path).type:
                    self.emit(f"f[{path!r}][...] = values({self.node('f', path).type.source}, f[{path!r}].shape, 3)")
            self.close()
        self.open(self.rng.choice(["r+", "r+", "a"]))

    # --- groups and links ---

    def step_group(self):
        file, path = self.file(), self.name(self.file())
        path = self.name(file)
        order = self.rng.choice(["", ", track_order=True", ", track_order=False"])
        call = self.rng.choice(["create_group", "create_group", "create_group", "require_group"])
        self.emit(f"{file}.{call}({path!r}{order if call == 'create_group' else ''})")
        self.put(file, path, Node("group"))

    def step_link(self):
        file = self.file()
        new, old, r = self.name(file), self.pick(file), self.rng.random()
        if r < 0.35 and old:
            self.emit(f"{file}[{new!r}] = {file}[{old!r}]")
            for path in self.beneath(file, old):
                self.put(file, new + path[len(old):], self.files[file][path])
            return
        if r < 0.65:
            target = self.rng.choice(["/" + (old or "x"), old or "y", "../x", "./" + (old or "z"), new, "none"])
            self.emit(f"{file}[{new!r}] = h5py.SoftLink({target!r})")
        else:
            other = "g" if file == "f" else "f"
            there = self.pick(other) or "x"
            where = self.rng.choice(["A", "B", "'missing.h5'", "B" if file == "f" else "A"])
            self.emit(f"{file}[{new!r}] = h5py.ExternalLink({where}, {'/' + there!r})")
        self.put(file, new, Node("link"))

    def step_follow(self):
        file, path = self.file(), None
        path = self.pick(file, "link") or self.pick(file)
        if path:
            self.emit(self.rng.choice([
                f"{file}.get({path!r}, getlink=True)", f"{file}.get({path!r}, getclass=True)",
                f"{file}[{path!r}]", f"{path!r} in {file}", f"{file}[{path!r}].name", f"{file}.get({path!r})",
                f"list({file}[{path!r}])", f"{file}.get({path!r}, getclass=True, getlink=True)",
                f"{file}[{path!r}].attrs['through'] = 1", f"{file}[{path!r}].parent.name",
                f"{file}.id.links.exists({path!r}.encode())",
                f"h5o.get_info({file}.id, {path!r}.encode()).rc"]))

    def step_move(self):
        file = self.file()
        old, new = self.pick(file), self.name(file)
        if not old or new.startswith(old + "/"):
            return
        self.emit(f"{file}.move({old!r}, {new!r})" if self.rng.random() < 0.8 else
                  f"{file}.id.links.move({old!r}.encode(), {file}.id, {new!r}.encode())")
        if new not in self.files[file] and "/" in new and new.rpartition("/")[0] in self.files[file] or "/" not in new:
            for path in self.beneath(file, old):
                self.put(file, new + path[len(old):], self.files[file].pop(path))

    def step_delete(self):
        file = self.file()
        path = self.pick(file)
        if path:
            self.emit(f"del {file}[{path!r}]")
            for gone in self.beneath(file, path):
                self.files[file].pop(gone)

    def step_copy(self):
        source, target = self.file(), self.file()
        if self.regions:
            return  # natively, copying region references fails for those that were never written
        old = self.pick(source) if self.rng.random() < 0.95 else ""
        new = self.name(target)
        if old is None or old == "" and source == target:
            return
        if source == target and any(n.chunks and n.type and n.type.references for p, n in self.files[source].items()
                                    if p in self.beneath(source, old)):
            return  # natively, chunked datasets of references cannot be copied within a file
        # Two combinations are left out. expand_refs with references that were never written fails in native HDF5. With
        # expand_external and references, h5lake sets the references to null within a file too.
        flags = [w for w in ("shallow", "expand_soft", "expand_external", "expand_refs", "without_attrs")
                 if self.rng.random() < 0.15 and (w not in ("expand_refs", "expand_external") or not self.references)]
        self.emit(f"{source}.copy({source}[{old or '/'!r}], {target}, name={new!r}"
                  + "".join(f", {w}=True" for w in flags) + ")")
        if not (source == target and new.startswith(old + "/")):
            for path in self.beneath(source, old) if "shallow" not in flags else [old]:
                if path in self.files[source]:
                    node = self.files[source][path]
                    self.put(target, new + path[len(old):] if old else f"{new}/{path}".rstrip("/"),
                             Node(**{**node.__dict__, "attrs": list(node.attrs)}))

    def step_list(self):
        file = self.file()
        path = (self.pick(file, "group") or "") or "/"
        group = f"{file}[{path!r}]"
        self.emit(self.rng.choice([
            f"list({group})", f"len({group})", f"sorted((k, type(v).__name__) for k, v in {group}.items())",
            f"out = []; {group}.visititems(lambda n, o: out.append((n, type(o).__name__))); out",
            f"out = []; {group}.visititems_links(lambda n, o: out.append((n, type(o).__name__))); out",
            f"out = []; {group}.visit(out.append); out",
            f"list(reversed({group}))", f"{group}.visit(lambda n: n)",
            f"out = []; i = {group}.id; i.links.iterate(lambda n: out.append(n), order=h5py.h5.ITER_DEC); out",
            f"[{group}.id.get_objname_by_idx(i) for i in range({group}.id.get_num_objs())]",
            f"[{group}.id.get_objtype_by_idx(i) for i in range({group}.id.get_num_objs())]",
            f"h5o.get_info({group}.id).rc", f"{group}.id.get_num_objs()",
            f"{group}.name", f"{group} == {file}['/']", f"bool({group})"]))

    def step_comment(self):
        file = self.file()
        path = self.pick(file)
        if path:
            self.emit(f"h5o.set_comment({file}[{path!r}].id, b'{self.rng.choice(['', 'said', 'x' * 300])}')")
            self.emit(f"comment({file}[{path!r}].id)")

    # --- attributes ---

    def step_attribute(self):
        file = self.file()
        path = self.pick(file) if self.rng.random() < 0.9 else ""
        if path is None:
            return
        node = self.node(file, path)
        attrs, r = f"{file}[{path or '/'!r}].attrs", self.rng.random()
        if node.attrs and r < 0.3:
            name = self.rng.choice(node.attrs)
            kind = self.type(file, node)
            self.emit(self.rng.choice([
                f"del {attrs}[{name!r}]", f"h5a.rename({file}[{path or '/'!r}].id, {name!r}.encode(), b'renamed')",
                f"{attrs}[{name!r}]", f"{attrs}.modify({name!r}, values({kind.source}, (2,), {self.number()}))",
                f"{attrs}.get_id({name!r}).get_type()", f"{attrs}[{name!r}] = {self.rng.choice(['1', '2.5', repr('text')])}",
                f"h5a.get_info({file}[{path or '/'!r}].id, {name!r}.encode()).cset",
                f"list({attrs})", f"{name!r} in {attrs}", f"{attrs}.get_id({name!r}).dtype",
                f"h5a.open({file}.id, index=0, obj_name={path!r}.encode()).name" if path else f"len({attrs})",
                f"h5a.delete({file}.id, {name!r}.encode(), obj_name={path!r}.encode())" if path else f"len({attrs})"]))
            return
        if r < 0.36:
            start = self.rng.randrange(100)
            self.emit(f"for i in range({start}, {start + self.rng.choice([3, 12, 30])}): {attrs}[f'many {{i % 37}}'] = i")
            node.attrs += [f"many {start % 37}", f"many {(start + 1) % 37}"]
            return
        kind, shape, name = self.type(file, node), some_shape(self.rng), self.rng.choice(NAMES)
        node.attrs.append(name)
        if shape is None:
            self.emit(f"{attrs}[{name!r}] = h5py.Empty({kind.source})")
        elif r < 0.4 and self.latest:
            self.emit(f"{attrs}.create({name!r}, values('<f8', ({self.rng.choice([8191, 9000, 40000])},), {self.number()}))")
        elif r < 0.5:
            self.emit(f"{attrs}[{name!r}] = " + self.rng.choice(
                ["1", "-2.5", "'text'", "b'bytes'", "''", "'ä' * 50", "[1, 2, 3]", "['a', 'bc']", "True", "np.float32(2)",
                 "(1 + 2j)", "[[1.5, 2.5]]", "np.arange(12).reshape(3, 4).T", "[]"]))
        else:
            while shape and math.prod(shape) > 100:  # the old format has no larger ones
                shape = some_shape(self.rng, 1)
            self.emit(f"{attrs}.create({name!r}, values({kind.source}, {shape}, {self.number()}), dtype={kind.source})")

    # --- datasets ---

    def step_dataset(self):
        if self.rng.random() < 0.25:
            return self.special_dataset()
        file = self.file()
        path, kind, shape = self.name(file), self.type(file), some_shape(self.rng)
        if shape is None:
            self.emit(f"{file}.create_dataset({path!r}, data=h5py.Empty({kind.source}))")
            return self.put(file, path, Node("dataset", type=kind))
        committed = self.pick(file, "type") if self.rng.random() < 0.15 else None
        words, maxshape, chunks = {}, None, None
        if shape and self.rng.random() < 0.65:
            maxshape = some_maxshape(self.rng, shape) if self.rng.random() < 0.6 else None
            chunks = some_chunks(self.rng, shape, maxshape)
            words["chunks"] = repr(chunks)
            if maxshape:
                words["maxshape"] = repr(maxshape)
            words.update(lossless(self.rng, kind))
        fixed = False
        if committed:
            kind = self.node(file, committed).type or kind
            words["dtype"] = f"{file}[{committed!r}]"
        full = self.rng.random() < 0.5 and not kind.source.startswith("np.dtype((")
        if full:
            words["data"] = f"values({kind.source}, {shape}, {self.number()})"
        if not committed:
            words["dtype"] = kind.source
        if kind.plain and self.rng.random() < 0.4 and "np.dtype((" not in kind.source:
            words["fillvalue"] = f"values({kind.source}, (), {self.number()})[()]"
        elif full and kind.plain and self.rng.random() < 0.1:
            words["fill_time"], fixed = "'never'", True
        elif not full and not chunks:
            # If native HDF5 does not write fill values, the storage may contain deleted data.
            words["fill_time"] = "'alloc'"
        if self.rng.random() < 0.1:
            words["track_times"] = self.rng.choice(["True", "False"])
        if self.rng.random() < 0.1:
            words["track_order"] = "True"
        self.emit(f"{file}.create_dataset({path!r}, {shape}, " + ", ".join(f"{k}={v}" for k, v in words.items()) + ")")
        self.put(file, path, Node("dataset", shape=shape, maxshape=maxshape, chunks=chunks, type=kind, fixed=fixed,
                                  filters=bool(set(words) & {"compression", "shuffle", "fletcher32", "scaleoffset"})))

    def special_dataset(self):
        """Creates a dataset by the low-level interface, with layouts, times and filters that create_dataset does not
        take."""
        file, shape = self.file(), some_shape(self.rng, 1)
        if len(shape) == 1:
            shape = (min(shape[0], 300),)
        path, settings, maxshape, chunks = self.name(file), [], None, None
        kind = None if self.rng.random() < 0.4 else self.type(file)
        special = self.rng.choice(SPECIAL)
        layout = self.rng.choice(["compact", "contiguous", "chunked", "chunked"])
        if layout == "chunked":
            maxshape = some_maxshape(self.rng, shape) if self.rng.random() < 0.5 else None
            chunks = some_chunks(self.rng, shape, maxshape)
            settings.append(f"chunk=({chunks},)")
            if self.rng.random() < 0.25:
                settings.append("filter=(h5z.FILTER_NBIT,)")
            if self.rng.random() < 0.2:
                settings.append("shuffle=()")
            if self.rng.random() < 0.2:
                settings.append("deflate=(3,)")
            if self.rng.random() < 0.1:
                settings.append("szip=(h5z.SZIP_NN_OPTION_MASK, 4)")
            if self.rng.random() < 0.1 and (kind is None or kind.number):
                settings.append("scaleoffset=(h5z.SO_INT, 0)")
            if self.rng.random() < 0.1:
                settings.append("fletcher32=()")
        else:
            settings.append(f"layout=(h5d.{layout.upper()},)")
        settings.append("fill_time=(h5d.FILL_TIME_ALLOC,)")
        if self.rng.random() < 0.5:
            time = self.rng.choice(["EARLY", "DEFAULT"] if layout == "compact" else ["EARLY", "LATE", "INCR", "DEFAULT"])
            settings.append(f"alloc_time=(h5d.ALLOC_TIME_{time},)")
        if self.rng.random() < 0.2:
            settings.append("attr_creation_order=(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED,)")
        if self.rng.random() < 0.2:
            settings.append(f"attr_phase_change=({self.rng.choice(['0, 0', '4, 2', '20, 10'])})")
        if self.rng.random() < 0.2:
            settings.append("obj_track_times=(False,)")
        source = special if kind is None else f"h5t.py_create({kind.source}, logical=True)"
        self.emit(f"make({file}, {path!r}, {source}, {shape}, dcpl({', '.join(settings)}), {maxshape}).get_create_plist()")
        self.put(file, path, Node("dataset", shape=shape, maxshape=maxshape, chunks=chunks, type=kind,
                                  filters=any(s.split("=")[0] in ("filter", "shuffle", "deflate", "szip", "scaleoffset",
                                                                  "fletcher32") for s in settings)))
        if kind is None:
            self.emit(f"{file}[{path!r}][...] = values({file}[{path!r}].dtype, {shape}, {self.number()})")

    def step_type(self):
        file = self.file()
        path, kind = self.name(file), some_type(self.rng)
        self.emit(f"{file}[{path!r}] = np.dtype({kind.source})")
        self.put(file, path, Node("type", type=kind))

    def step_write(self):
        file = self.file()
        path = self.pick(file, "dataset")
        if not path:
            return
        node, d = self.node(file, path), f"{file}[{path!r}]"
        shape, r = node.shape, self.rng.random()
        if shape is None or r < 0.1:
            return self.emit(f"d = {d}; d[...] = values(d.dtype, d.shape or (), {self.number()}); del d")
        if r < 0.4:
            index = some_index(self.rng, shape)
            return self.emit(f"d = {d}; d[{index}] = values(d.dtype, np.zeros(d.shape, 'i1')[{index}].shape, {self.number()}); del d")
        mtype = ""
        if node.type and node.type.number and self.rng.random() < 0.4:
            mtype = f", mtype={self.rng.choice(['i1', '>i8', '<f8', '>f4', 'u2', 'i4'])!r}"
        elif node.type and node.type.fields and self.rng.random() < 0.5:
            mtype = f", mtype={self.subset(node.type)}"
        gap = f", gap={self.rng.randint(2, 3)}" if self.rng.random() < 0.2 else ""
        how = some_selection(self.rng, shape)
        if how[0] == "points" and len(how[1]) >= math.prod(map(min, node.chunks or shape, shape)):
            # Native HDF5 treats a selection of as many points as the chunk has elements as the whole chunk, even if
            # points repeat, and loses the other elements.
            how[1] = [list(p) for p in dict.fromkeys(map(tuple, how[1]))]
        self.emit(f"write_part({d}, {how}, {self.number()}{mtype}{gap})")

    def step_read(self):
        file = self.file()
        path = self.pick(file, "dataset")
        if not path:
            return
        node, d = self.node(file, path), f"{file}[{path!r}]"
        shape, r = node.shape, self.rng.random()
        if shape is None or r < 0.05:
            return self.emit(f"{d}[()]")
        if r < 0.35:
            return self.emit(f"{d}[{some_index(self.rng, shape)}]")
        if node.type and node.type.number and r < 0.45:
            return self.emit(f"{d}.astype({self.rng.choice(['i2', '>f8', 'u8', 'f4', 'S4', 'c16'])!r})[{some_index(self.rng, shape)}]")
        if node.type and node.type.fields and r < 0.5:
            names = [n for n, _ in node.type.fields] + ["no field"]
            return self.emit(f"{d}[{self.rng.choice(names)!r}]")
        if node.type and r < 0.53:
            return self.emit(f"{d}.{self.rng.choice(['asstr()', 'fields([' + repr('a') + '])'])}[...]")
        mtype = ""
        if node.type and node.type.number and self.rng.random() < 0.4:
            mtype = f", mtype={self.rng.choice(['i1', '>i8', '<f8', '>f4', 'u2', 'i4'])!r}"
        elif node.type and node.type.fields and self.rng.random() < 0.5:
            mtype = f", mtype={self.subset(node.type)}"
        gap = f", gap={self.rng.randint(2, 3)}" if self.rng.random() < 0.2 else ""
        self.emit(f"read_part({d}, {some_selection(self.rng, shape)}{mtype}{gap})")

    def subset(self, kind):
        """Returns some fields of a compound, in an order of their own."""
        fields = self.rng.sample(list(kind.fields), self.rng.randint(1, len(kind.fields)))
        return "np.dtype([" + ", ".join(f"({n!r}, {t.source})" for n, t in fields) + "])"

    def step_resize(self):
        file = self.file()
        path = self.pick(file, "dataset")
        if not path:
            return
        node = self.node(file, path)
        if not node.shape or node.fixed or not node.maxshape and self.rng.random() < 0.9:
            return
        most = node.maxshape or node.shape
        shape = tuple(self.rng.choice([n, n, 0, n + 1, n + 7, max(0, n - 3), n // 2, 1]) for n in node.shape)
        if self.latest and node.chunks and all(m is not None and c >= m for c, m in zip(node.chunks, most)):
            return  # native HDF5 keeps the only chunk of a dataset when the shrunk extent has no part of it
        if self.rng.random() < 0.95:
            shape = tuple(n if m is None else min(n, m) for n, m in zip(shape, most))
        self.emit(f"{file}[{path!r}].resize({shape})")
        if all(m is None or n <= m for n, m in zip(shape, most)) and node.chunks:
            node.shape = shape
        if self.rng.random() < 0.3:
            self.emit(f"{file}[{path!r}][()]")

    def step_ask(self):
        file = self.file()
        path = self.pick(file, "dataset")
        if not path:
            return
        d = f"{file}[{path!r}]"
        at = tuple(n // 2 // c * c for n, c in zip(self.node(file, path).shape or (), self.node(file, path).chunks or ()))
        self.emit(self.rng.choice([
            f"dataset({d})", f"chunks({d})", f"{d}.id.get_space_status()", f"{d}.id.get_create_plist()",
            f"{d}.id.get_num_chunks()", f"{d}.id.get_chunk_info_by_coord({at}).chunk_offset",
            f"{d}.id.read_direct_chunk({at})[0] is None", f"[str(s) for s in {d}.iter_chunks()]", f"{d}.id.get_space()",
            f"len({d})", f"{d}.nbytes", f"{d}.size", f"{d}.maxshape", f"{d}.fillvalue", f"{d}.dtype", f"{d}.is_virtual",
            f"{d}.id.refresh()", f"{d}.id.flush()", f"{d}.chunks", f"{d}.compression",
            f"seen = []; {d}.id.chunk_iter(lambda c: seen.append(c.filter_mask)); sorted(seen)",
        ]))

    def step_chunk(self):
        """Reads and writes chunks without the filter pipeline."""
        file = self.file()
        path = self.pick(file, "dataset")
        node = path and self.node(file, path)
        if not node or node.filters:
            return  # native HDF5 loses the masks of chunks that are written directly, and then crashes reading them
        if not node.chunks or not node.type or not node.type.plain or not all(node.shape):
            return
        at = tuple(self.rng.randrange(n) // c * c for n, c in zip(node.shape, node.chunks))
        d = f"{file}[{path!r}]"
        # If all bits of the mask are set, no filter was applied, so that any bytes of the right number are valid.
        self.emit(f"d = {d}; d.id.write_direct_chunk({at}, values(d.dtype, d.chunks, {self.number()}).tobytes(), "
                  "filter_mask=(1 << d.id.get_create_plist().get_nfilters()) - 1); del d")
        self.emit(f"{d}.id.read_direct_chunk({at})[1]")
        self.emit(f"{d}[()]")

    def step_scale(self):
        file = self.file()
        path, other = self.pick(file, "dataset"), self.pick(file, "dataset")
        if not path:
            return
        d, s = f"{file}[{path!r}]", f"{file}[{other!r}]"
        self.emit(self.rng.choice([
            f"{s}.make_scale('name')", f"{s}.make_scale()", f"{s}.make_scale('name'); {d}.dims[0].attach_scale({s})",
            f"{d}.dims[0].detach_scale({s})", f"{d}.dims[0].label = 'länge'", f"[list(x.keys()) for x in {d}.dims]",
            f"[x.label for x in {d}.dims]", f"{d}.is_scale", f"h5ds.get_num_scales({d}.id, 0)",
            f"h5ds.is_attached({d}.id, {s}.id, 0)", f"[[v for v in x.values()] for x in {d}.dims]"]))

    def step_reference(self):
        file, path = "f", self.pick("f", "dataset")
        if not path:
            return
        node, d = self.node(file, path), f"{file}[{path!r}]"
        shape = node.shape or ()
        index = some_index(self.rng, shape)
        self.references = True
        self.emit(self.rng.choice([
            f"r = {d}.ref; [r, {file}[r], h5r.get_obj_type(r, {file}.id)]",
            f"r = {d}.regionref[{index}]; [r, {d}.regionref.selection(r), {d}.regionref.shape(r)]",
            f"r = {d}.regionref[{index}]; {d}[r]",
            f"r = h5r.create({file}.id, {path!r}.encode(), h5r.DATASET_REGION, select({d}.id.get_space(), {some_slab(self.rng, shape)})); r",
            f"{file}[{path!r}].attrs['ref'] = {file}.ref; {file}[{file}[{path!r}].attrs['ref']]",
            f"{d}.ref == {d}.ref"]))

    def step_hold(self):
        """Keeps an object open while later steps change it."""
        file = self.file()
        path = self.pick(file)
        if not path:
            return
        if self.handles and self.rng.random() < 0.7:
            h = f"h{self.rng.randrange(self.handles)}"
            return self.emit(self.rng.choice([
                f"one_object({h})", f"{h}.attrs['held'] = 5; one_object({h})", f"{h}[()]", f"list({h})", f"{h}.name",
                f"{file}[{self.name(file)!r}] = {h}", f"{h}.shape", f"{h}.id.valid", f"h5o.get_info({h}.id).rc",
                f"{h}.create_group('in held')", f"{h}[...] = 0", f"{h}.parent.name", f"{h} == {file}[{path!r}]"]))
        self.emit(f"h{self.handles} = {file}[{path!r}]")
        self.handles += 1
        if self.rng.random() < 0.5:
            self.emit(f"del {file}[{path!r}]")
            for gone in self.beneath(file, path):
                self.files[file].pop(gone)

    def step_anonymous(self):
        file, kind, path = self.file(), Type("'i4'"), self.name(self.file())
        path = self.name(file)
        self.emit(f"anon = {file}.create_dataset(None, (4,), 'i4'); anon[...] = [1, 2, 3, 4]; one_object(anon)")
        if self.rng.random() < 0.7:
            self.emit(f"{file}[{path!r}] = anon")
            self.put(file, path, Node("dataset", shape=(4,), type=kind))

    def step_virtual(self):
        file = self.file()
        source = self.pick(file, "dataset")
        node = source and self.node(file, source)
        # Natively, a missing group on the way to a source is an error, but a missing source reads as fill values.
        if not node or not node.shape or not all(node.shape) or not node.type or not node.type.number or "/" in source:
            return
        path, n, where = self.name(file), self.rng.randint(1, 3), self.rng.choice(["'.'", "'.'", "'missing.h5'"])
        # Natively, sources in files that the program itself has open cause errors, or leave a file open.
        shape = (n,) + node.shape
        at = self.rng.randrange(n)
        self.emit(f"v = h5py.VirtualLayout({shape}, {node.type.source}); v[{at}] = h5py.VirtualSource({where}, {source!r}, "
                  f"{node.shape}); {file}.create_virtual_dataset({path!r}, v, fillvalue=9)")
        self.put(file, path, Node("dataset", shape=shape, type=node.type))

    STEPS = [("group", 8), ("link", 7), ("follow", 6), ("move", 4), ("delete", 4), ("copy", 7), ("list", 6),
             ("comment", 1), ("attribute", 18), ("dataset", 20), ("type", 3), ("write", 18), ("read", 14),
             ("resize", 8), ("ask", 8), ("chunk", 3), ("scale", 4), ("reference", 4), ("hold", 5),
             ("anonymous", 1), ("virtual", 2), ("reopen", 7)]

    def program(self):
        """Runs all steps, and at the end dumps both files in a new process."""
        self.open("w")
        names, weights = zip(*self.STEPS)
        for _ in range(self.rng.choice([10, 25, 40, 60])):
            getattr(self, "step_" + self.rng.choices(names, weights)[0])()
        self.emit("dump(f)")
        self.emit("dump(g)")
        self.close()
        self.emit(PROCESS)
        self.open("r")
        self.emit("dump(f)")
        self.emit("dump(g)")
        self.close()
        return self.steps
