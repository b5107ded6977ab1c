"""The parts of the programs: types, shapes, layouts, filters and selections, as Python source."""

import math

# Entries are (source of a dtype, properties). 'plain' means a fixed size and no pointers, so that every filter of bytes
# can be applied.
SIMPLE = ["'i1'", "'u1'", "'<i2'", "'>i2'", "'<u4'", "'>i4'", "'<i8'", "'>u8'", "'<f2'", "'<f4'", "'>f4'", "'<f8'",
          "'>f8'", "'?'", "'<c8'", "'>c16'", "'S1'", "'S7'", "h5py.string_dtype('utf-8', 9)",
          "h5py.enum_dtype({'red': 1, 'green': 2, 'blue': 42}, 'i1')",
          "h5py.enum_dtype({'x': -5, 'y': 70000}, '>i4')"]
OPAQUE = ["'V5'", "h5py.opaque_dtype('M8[us]')", "'V1'"]
STRINGS = ["h5py.string_dtype()", "h5py.string_dtype('ascii')"]
REFERENCES = ["h5py.ref_dtype", "h5py.regionref_dtype"]
NUMBERS = SIMPLE[:13]
# H5T types that NumPy lacks, each with the NumPy type that is used in memory.
SPECIAL = ["h5t.STD_B8LE", "h5t.STD_B16BE", "h5t.STD_B64LE", "h5t.IEEE_F16BE", "integer(17, 3)", "integer(5, 0, h5t.STD_U8LE)",
           "integer(12, 2, h5t.STD_I16BE)", "h5t.COMPLEX_IEEE_F32LE", "h5t.COMPLEX_IEEE_F64BE", "h5t.UNIX_D32LE",
           "h5t.vlen_create(h5t.vlen_create(h5t.STD_I16LE))", "h5t.array_create(h5t.STD_B16LE, (2,))",
           "h5t.FORTRAN_S1", "h5t.NATIVE_LDOUBLE"]


class Type:
    """A type as source, and the properties that decide which settings are possible."""

    def __init__(self, source, plain=True, number=False, fields=(), references=False):
        self.source, self.plain, self.number, self.fields = source, plain, number, fields
        self.references = references


def compound(rng, depth):
    fields = [(name, some_type(rng, depth + 1)) for name in ["a", "b", "ccc", "ü"][:rng.randint(1, 4)]]
    if any("regionref" in t.source for _, t in fields):
        fields = [(n, t) for n, t in fields if t.plain or t.references]  # h5lake refuses them beside vlen as yet
    source = "np.dtype([" + ", ".join(f"({n!r}, {t.source})" for n, t in fields) + "]" + \
        (", align=True" if rng.random() < 0.05 else "") + ")"
    return Type(source, all(t.plain for _, t in fields), fields=fields,
                references=any(t.references for _, t in fields))


def some_type(rng, depth=0):
    """Returns a random type. Compounds, arrays and variable-length types are nested at most two levels deep."""
    r = rng.random()
    if r < 0.5 or depth > 1 and r < 0.8:
        source = rng.choice(SIMPLE)
        return Type(source, number=source in NUMBERS)
    if r < 0.55:
        return Type(rng.choice(OPAQUE))
    if r < 0.67 or depth > 1:
        return Type(rng.choice(STRINGS), plain=False)
    if r < 0.72:
        return Type(rng.choice(REFERENCES), plain=False, references=True)
    if r < 0.82:
        return compound(rng, depth)
    base = some_type(rng, depth + 1)
    if r < 0.91:
        if "vlen" in base.source or base.source.startswith("np.dtype((") or "region" in base.source:
            base = Type("'<i4'")
        return Type(f"h5py.vlen_dtype({base.source})", plain=False, references=base.references)
    shape = rng.choice(["(3,)", "(2, 2)", "(1,)"])
    if base.source.startswith("np.dtype(("):
        return base
    return Type(f"np.dtype(({base.source}, {shape}))", base.plain, references=base.references)


def some_shape(rng, least=0):
    """Returns a small shape, which now and then is scalar, null or has a zero."""
    r = rng.random()
    if least == 0 and r < 0.08:
        return ()
    if least == 0 and r < 0.12:
        return None
    rank = rng.choice([1, 1, 1, 2, 2, 3, 4])
    shape = (9999,)
    while math.prod(shape) > 2000:
        shape = tuple(rng.choice([1, 2, 3, 5, 8, 13, 20]) for _ in range(rank))
    if rng.random() < 0.08:
        shape = tuple(0 if i == 0 else n for i, n in enumerate(shape))
    if rank == 1 and rng.random() < 0.1:
        shape = (rng.choice([300, 1000, 5000]),)
    return shape


def some_maxshape(rng, shape):
    """Returns a maximum shape: unlimited in some dimensions, larger, or equal to the shape."""
    return tuple(rng.choice([None, None, n, n + rng.randint(1, 30)]) for n in shape)


def some_chunks(rng, shape, maxshape):
    """Returns a chunk shape. In fixed dimensions, chunks may not be larger than the dimension."""
    while True:
        out = []
        for n, most in zip(shape, maxshape or shape):
            limit = max(1, n + 3 if most is None else most)
            out.append(max(1, min(limit, rng.choice([1, 2, 3, 4, 7, limit, max(1, n // 2)]))))
        if math.prod(-(-n // c) for n, c in zip(shape, out)) <= 250:
            return tuple(out)


def lossless(rng, kind):
    """Returns keywords of h5py's create_dataset for lossless filters."""
    words = {}
    r = rng.random()
    if r < 0.35:
        words["compression"] = "'gzip'"
        words["compression_opts"] = rng.choice(["1", "4", "9"])
    elif r < 0.5:
        words["compression"] = "'lzf'"
    elif r < 0.55:
        words["compression"], words["compression_opts"] = "'szip'", rng.choice(["('nn', 8)", "('ec', 4)"])
    if rng.random() < 0.35:
        words["shuffle"] = "True"
    if rng.random() < 0.25:
        words["fletcher32"] = "True"
    if kind.number and rng.random() < 0.1:
        words["scaleoffset"] = "0" if "f" not in kind.source else rng.choice(["2", "4"])
    return words


def some_slab(rng, shape, most=3):
    """Returns a selection as data for prelude.select: one or several hyperslabs."""
    operations = []
    for i in range(rng.randint(1, most)):
        start, count, stride, block = [], [], [], []
        for n in shape:
            s = rng.randrange(n + (rng.random() < 0.02)) if n else 0
            b = rng.choice([1, 1, 2, 3])
            t = b + rng.choice([0, 0, 1, 2])
            room = max(0, (n - s - b) // t + 1) if n >= s + b else 0
            c = rng.randint(0 if rng.random() < 0.05 else 1, room) if room else (0 if rng.random() < 0.8 else 1)
            for column, value in zip((start, count, stride, block), (s, c, t, b)):
                column.append(value)
        operation = "=" if i == 0 else rng.choice("||&^-~")
        operations.append((operation, tuple(start), tuple(count), tuple(stride), tuple(block)))
    return operations


def some_selection(rng, shape):
    """Returns any selection as data for prelude.select."""
    r = rng.random()
    if r < 0.08 or not shape:
        return rng.choice(["all", "all", "none"])
    if r < 0.35 and all(shape):
        points = [[rng.randrange(n) for n in shape] for _ in range(rng.choice([1, 2, 5, 12]))]
        return ["points", points]
    return some_slab(rng, shape)


def some_index(rng, shape):
    """Returns an index as in NumPy, as source, mostly a valid one."""
    if not shape:
        return rng.choice(["()", "..."])
    if rng.random() < 0.1:
        return rng.choice(["...", "()", "0", "-1"])
    if rng.random() < 0.05:
        return "rng(%d).random(%r) < 0.4" % (rng.randrange(999), shape)
    out, lists = [], 0
    for n in shape:
        r = rng.random()
        if r < 0.2 and n:
            out.append(str(rng.randrange(-n, n)))
        elif r < 0.35 and n > 1 and not lists:
            lists = 1
            out.append(repr(sorted(rng.sample(range(n), rng.randint(1, min(n, 5))))))
        elif r < 0.4:
            out.append(":")
        else:
            a = rng.randrange(0, n + 1)
            b = rng.randrange(a, n + 2)
            out.append(f"{a}:{b}" + (f":{rng.randint(2, 4)}" if rng.random() < 0.3 else ""))
    if rng.random() < 0.15:
        out = out[:rng.randint(1, len(out))]
    return ", ".join(out) + ("," if len(out) == 1 else "")
