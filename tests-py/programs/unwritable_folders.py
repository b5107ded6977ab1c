"""Mode w in a folder that cannot be written, where the file can: the new content becomes the next version of the old container. Native
HDF5 overwrites the file at once. The case needs root, to be several users one after the other, and containers in files."""
# store: any
# only: h5lake

import os

import h5py
from cases import main
from file_permissions import OTHERS, STRANGER, acts, has_users, write


def members(name):
    with h5py.File(name, "r") as f:
        return sorted(f)


def check_mode_w_in_a_folder_that_cannot_be_written(folder):
    """The name leads to the old content until the first flush, and to the new content from then on."""
    if not has_users():
        return
    write("a.h5", 1)
    with h5py.File("a.h5", "r+") as f:
        f["old"] = range(1000)
    os.chmod("a.h5", 0o666)
    os.chmod(".", 0o555)
    inode = os.stat("a.h5").st_ino

    def dies():
        f = h5py.File("a.h5", "w")
        f["new"] = [1]
        f["big"] = range(100_000)
        os._exit(0)

    acts(STRANGER, [OTHERS], dies)
    assert members("a.h5") == ["old", "x"]
    with h5py.File("a.h5", "r") as reader:

        def replaces():
            f = h5py.File("a.h5", "w")
            assert sorted(f) == [] and len(f.attrs) == 0
            f["new"] = range(1000)
            f.flush()
            f["more"] = 1
            f.close()

        assert acts(STRANGER, [OTHERS], replaces) == "well"
        assert sorted(reader) == ["old", "x"] and list(reader["old"][:]) == list(range(1000))
    assert members("a.h5") == ["more", "new"] and os.stat("a.h5").st_ino == inode

    def replaces_what_it_reads():
        reader = h5py.File("a.h5", "r")
        with h5py.File("a.h5", "w") as f:
            f["newest"] = range(1000)
            f.flush()
            assert sorted(reader) == ["more", "new"] and list(reader["new"][:]) == list(range(1000))
            with h5py.File("a.h5", "r") as again:
                assert sorted(again) == ["newest"]
        assert sorted(reader) == ["more", "new"]

    assert acts(STRANGER, [OTHERS], replaces_what_it_reads) == "well"
    assert members("a.h5") == ["newest"]
    # If the new container stays empty, the close commits its creation.
    assert acts(STRANGER, [OTHERS], lambda: h5py.File("a.h5", "w").close()) == "well"
    assert members("a.h5") == []
    assert acts(STRANGER, [OTHERS], lambda: write("a.h5", 3)) == "well"
    assert members("a.h5") == ["x"] and sorted(os.listdir(".")) == ["a.h5", "loaded.h5"]
    # The file of a container without a user block cannot hold a new container with a user block.
    create = lambda: h5py.File("a.h5", "w", userblock_size=512)  # noqa: E731
    assert acts(STRANGER, [OTHERS], create) == "PermissionError"
    assert members("a.h5") == ["x"]
    # A file of another kind is overwritten, as in native HDF5.
    with open("a.h5", "w") as file:
        file.write("no container " * 1000)
    assert acts(STRANGER, [OTHERS], lambda: write("a.h5", 4)) == "well"
    assert members("a.h5") == ["x"]


main(globals())
