"""The permissions of a file that replaces another one: exactly the users that could use the old file can use the new
one. The cases need root, to act as several users one after the other, and containers in files."""
# store: any

import os
import struct

import h5py
from cases import IN_STORE, main

OWNER, COLLEAGUE, STRANGER = 1111, 2222, 3333
GROUP, OTHERS = 777, 55
ACL = "system.posix_acl_access"
NOBODY = 0xFFFFFFFF


def write(path, value, mode="w"):
    with h5py.File(path, mode) as f:
        f["x"] = value


def acts(user, groups, act):
    """Calls `act` as another user. Returns 'well', or the name of the exception."""
    read, write_end = os.pipe()
    if os.fork() == 0:
        os.setgroups(groups)
        os.setgid(groups[0])
        os.setuid(user)
        try:
            act()
            told = "well"
        except Exception as e:
            told = type(e).__name__
        os.write(write_end, told.encode())
        os._exit(0)
    os.close(write_end)
    os.wait()
    with os.fdopen(read) as told:
        return told.read()


def reads(path):
    def read():
        h5py.File(path, "r").close()
    return read


def has_users():
    """Returns whether this process can act as other users, and the containers are files."""
    # Writes a file first, so that the modules and libraries are loaded that a child with another user could not read
    # from root's folders.
    write("loaded.h5", 1)
    return os.geteuid() == 0 and not IN_STORE


def check_a_replaced_file_keeps_its_group(folder):
    """The folder gives new files another group."""
    if not has_users():
        return
    os.chown(".", 0, OTHERS)
    os.chmod(".", 0o2777)
    write("a.h5", 1)
    os.chown("a.h5", OWNER, GROUP)
    os.chmod("a.h5", 0o660)
    assert acts(STRANGER, [OTHERS], reads("a.h5")) == "PermissionError"
    assert acts(COLLEAGUE, [GROUP], lambda: write("a.h5", 2)) == "well"
    found = os.stat("a.h5")
    assert (found.st_gid, found.st_mode & 0o777) == (GROUP, 0o660), found
    assert acts(OWNER, [GROUP], reads("a.h5")) == "well"
    assert acts(STRANGER, [OTHERS], reads("a.h5")) == "PermissionError"
    # A user outside of the group cannot give the file that group, and gives the new group no more rights than every
    # user has.
    os.chmod("a.h5", 0o666)
    assert acts(STRANGER, [OTHERS], lambda: write("a.h5", 3)) == "well"
    assert os.stat("a.h5").st_mode & 0o777 == 0o666


def access_list(user):
    """Returns an ACL that lets one more user read and write, and gives the file's group no rights (acl(5))."""
    entries = [(0x01, 6, NOBODY), (0x02, 6, user), (0x04, 0, NOBODY), (0x10, 6, NOBODY), (0x20, 0, NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def check_a_replaced_file_keeps_its_list_and_attributes(folder):
    if not has_users():
        return
    os.chmod(".", 0o755)
    write("a.h5", 1)
    os.chown("a.h5", OWNER, GROUP)
    try:
        os.setxattr("a.h5", "user.note", b"mine")
        os.setxattr("a.h5", ACL, access_list(COLLEAGUE))
    except OSError:
        return
    write("a.h5", 2)
    assert os.getxattr("a.h5", ACL) == access_list(COLLEAGUE) and os.getxattr("a.h5", "user.note") == b"mine"
    assert acts(COLLEAGUE, [OTHERS], reads("a.h5")) == "well"
    assert acts(STRANGER, [GROUP], reads("a.h5")) == "PermissionError"


def check_what_may_not_be_read_is_in_the_way(folder):
    if not has_users():
        return
    os.chmod(".", 0o777)
    write("a.h5", 1)
    with open("native.bin", "wb") as f:
        f.write(b"something")
    for name in ("a.h5", "native.bin"):
        os.chmod(name, 0o600)
        assert acts(STRANGER, [OTHERS], lambda: write(name, 2, "x")) == "FileExistsError", name
        assert acts(STRANGER, [OTHERS], lambda: write(name, 2, "w")) == "PermissionError", name


if __name__ == "__main__":
    main(globals())
