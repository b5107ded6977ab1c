"""Which rows there are, how large, and which sides each is done by."""

MIB = 1 << 20

LOCAL = ["h5lake", "native", "memory", "core"]
REMOTE = ["s3", "zarr-s3", "s3fs"]
ALL = [*LOCAL, "zarr", *REMOTE, "floor"]
PLAIN = ["h5lake", "native"]
# Native files under the plugin, whose chunks its filters decode.
PASSED = "passed"

# Chunks through a filter beside deflate: the one that runs in libhdf5, and all.
FOREIGN = ("zfp",)
FILTERS = ("zstd", "lz4", "lzf", "bzip2", "bitshuffle", "scaleoffset", "nbit", "szip", "blosc", "blosclz", "blosc2", *FOREIGN)

# Name: (size, size of the smoke form, sides). Sizes are bytes, counts or edges, as rows.py and c/rows.c say.
PYTHON_ROWS = {
    "contiguous": (256 * MIB, 3 * MIB, ALL),
    "slices": (256 * MIB, 3 * MIB, ALL),
    "chunks": (256 * MIB, 3 * MIB, ALL),
    "planes": (4096, 512, [*ALL, PASSED]),
    "gzip": (64 * MIB, 2 * MIB, [*ALL, PASSED]),
    **{name: (64 * MIB, 2 * MIB, [*PLAIN, PASSED]) for name in FILTERS},
    "datasets": (10_000, 60, ALL),
    "attributes": (1_000, 20, ALL),
    "texts": (1_000, 20, LOCAL),
    "calls": (1_000, 20, PLAIN),
    "strings": (200_000, 500, [*LOCAL, "s3", "s3fs"]),
    "compound": (1_000_000, 1_000, [*LOCAL, "s3", "s3fs", "floor"]),
    "narrow": (64 * MIB, MIB, [*LOCAL, "s3", "s3fs"]),
    "appends": (2_000, 20, [*PLAIN, "s3", "floor"]),
    "poll": (400, 10, PLAIN),
    "s3-array": (256 * MIB, 3 * MIB, [*REMOTE, "raw"]),
    "s3-array-20ms": (256 * MIB, 3 * MIB, [*REMOTE, "raw"]),
    "cold": (10_000, 60, [*PLAIN, "zarr", *REMOTE]),
}
C_ROWS = {
    "datasets-c": (10_000, 60, LOCAL),
    "attributes-c": (1_000, 20, LOCAL),
    "strings-c": (200_000, 500, LOCAL),
    "vol-c": (1_001, 5, [*LOCAL, "floor"]),
    "small": (1_000, 5, PLAIN),
    "idle": (1, 1, PLAIN),
    "objects-10": (10, 10, PLAIN),
    "objects-1000": (1_000, 1_000, PLAIN),
    "objects-100000": (100_000, 2_000, PLAIN),
    "objects-1000000": (1_000_000, 3_000, PLAIN),
    "big": (8192, 16, PLAIN),
    "big-chunked": (8192, 16, PLAIN),
}
FLOORS = {"contiguous", "slices", "chunks", "gzip", "compound", "appends", "vol-c"}

# Rows on an S3 server of their own, a new one each time, whose requests take so many milliseconds longer.
# Long writes to files, each done once before it is timed: the system hands out the cache pages that it was given back last,
# and others ten times as slowly, in pieces as long as the calls; so each side has its own, and not those of the one before.
WARMED = ("contiguous", "chunks", "planes", "gzip", "compound", "narrow", "strings", "strings-c", "vol-c",
          *FILTERS)
FAR = {"s3-array": 0, "s3-array-20ms": 20}

# On S3, and of zarr, fewer: the time of one does not depend on their number, and each is a few requests.
FEWER = {
    ("contiguous", "remote"): 64 * MIB, ("slices", "remote"): 64 * MIB, ("chunks", "remote"): 64 * MIB,
    ("planes", "remote"): 2048, ("gzip", "remote"): 16 * MIB, ("datasets", "remote"): 1_000, ("datasets", "zarr"): 1_000,
    ("attributes", "remote"): 100, ("appends", "remote"): 100, ("cold", "remote"): 1_000, ("cold", "zarr"): 1_000,
    ("narrow", "remote"): 16 * MIB, ("compound", "remote"): 250_000,
}


def sides_of(row, wanted=None):
    """The sides that do a row, of those wanted."""
    sides = (PYTHON_ROWS.get(row) or C_ROWS[row])[2]
    return [side for side in sides if wanted is None or side in wanted]


def size_of(row, side, smoke):
    """How much a side does of a row."""
    full, tiny, _ = PYTHON_ROWS.get(row) or C_ROWS[row]
    if smoke:
        return tiny
    kind = "remote" if side in REMOTE else side
    return FEWER.get((row, kind), full)
