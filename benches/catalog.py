"""The rows of the table, their sizes, and the sides that each row compares."""

MIB = 1 << 20

LOCAL = ["h5lake", "native", "memory", "core"]
REMOTE = ["s3", "zarr-s3", "s3fs"]
ALL = [*LOCAL, "zarr", *REMOTE, "floor"]
PLAIN = ["h5lake", "native"]
# Native files under the plugin, the chunks of which are decoded by the plugin's filters.
PASSED = "passed"

# Filters other than deflate: the ones that run in libhdf5, and all of them.
FOREIGN = ("zfp",)
FILTERS = ("zstd", "lz4", "lzf", "bzip2", "bitshuffle", "scaleoffset", "nbit", "szip", "blosc", "blosclz", "blosc2", *FOREIGN)

# Name: (size, size of the smoke form, sides). Sizes are bytes, counts or edges, as rows.py and c/rows.c define them.
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

# Rows of long writes to files, which are carried out once before they are timed. The system reuses the cache pages that
# were freed last, and hands out other pages ten times as slowly, in pieces as long as the calls. So each side has its
# own pages, and not those of the side before.
WARMED = ("contiguous", "chunks", "planes", "gzip", "compound", "narrow", "strings", "strings-c", "vol-c",
          *FILTERS)
# Rows on an S3 server of their own, which is started anew each time and delays each request by this many milliseconds.
FAR = {"s3-array": 0, "s3-array-20ms": 20}

# Smaller sizes on S3 and for zarr: the time per unit does not depend on the number of units, and each unit is a few
# requests.
FEWER = {
    ("contiguous", "remote"): 64 * MIB, ("slices", "remote"): 64 * MIB, ("chunks", "remote"): 64 * MIB,
    ("planes", "remote"): 2048, ("gzip", "remote"): 16 * MIB, ("datasets", "remote"): 1_000, ("datasets", "zarr"): 1_000,
    ("attributes", "remote"): 100, ("appends", "remote"): 100, ("cold", "remote"): 1_000, ("cold", "zarr"): 1_000,
    ("narrow", "remote"): 16 * MIB, ("compound", "remote"): 250_000,
}


def sides_of(row, wanted=None):
    """Returns the sides of a row that are among the requested ones."""
    sides = (PYTHON_ROWS.get(row) or C_ROWS[row])[2]
    return [side for side in sides if wanted is None or side in wanted]


def size_of(row, side, smoke):
    """Returns the size of a row for a side."""
    full, tiny, _ = PYTHON_ROWS.get(row) or C_ROWS[row]
    if smoke:
        return tiny
    kind = "remote" if side in REMOTE else side
    return FEWER.get((row, kind), full)
