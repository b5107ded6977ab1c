"""The addresses that a container returns are in no file, so that no program can read other bytes there by mistake."""
# only: h5lake

import os

import h5py
import numpy as np
from cases import main, raises

DATA = np.arange(1000.0)


def made(name):
    with h5py.File(name, "w") as f:
        f.create_dataset("chunked", data=DATA, chunks=(100,))
        f.create_dataset("packed", data=DATA, chunks=(100,), compression="gzip")
        f.create_dataset("part", (1000,), chunks=(100,))[:100] = 1
        f["plain"] = DATA
        f.create_dataset("never", (10,), "f4")
    return h5py.File(name)


def nobody_can_read_at(address):
    with open(os.devnull, "rb") as file:
        raises(ValueError, file.seek, address)


def check_chunks_have_coordinates_and_sizes_but_no_place(_folder):
    with made("a.h5") as f:
        for name, count in (("chunked", 10), ("packed", 10), ("part", 1)):
            dataset, seen = f[name].id, []
            dataset.chunk_iter(lambda chunk: seen.append(chunk))
            by_number = [dataset.get_chunk_info(n) for n in range(dataset.get_num_chunks())]
            assert sorted(seen, key=lambda chunk: chunk.chunk_offset) == sorted(by_number, key=lambda chunk: chunk.chunk_offset)
            assert {chunk.chunk_offset for chunk in seen} == {(100 * n,) for n in range(count)}
            for chunk in [*seen, dataset.get_chunk_info_by_coord((0,))]:
                nobody_can_read_at(chunk.byte_offset)
                mask, stored = dataset.read_direct_chunk(chunk.chunk_offset)
                assert len(stored) == chunk.size and mask == chunk.filter_mask == 0
        missing = f["part"].id.get_chunk_info_by_coord((500,))
        assert missing.byte_offset is None and missing.size == 0


def check_contiguous_data_has_no_place(_folder):
    with made("b.h5") as f:
        # None would mean that no data was ever written, and tools would read fill values.
        nobody_can_read_at(f["plain"].id.get_offset())
        assert f["chunked"].id.get_offset() is None


def check_objects_have_addresses_beyond_every_file(_folder):
    with made("c.h5") as f:
        found = [h5py.h5o.get_info(f[name].id).addr for name in f]
        assert len(set(found)) == len(found) and min(found) > 2**60


main(globals())
