#!/usr/bin/env python3
"""Compares two lists of "key value..." lines; prints the differences, then "<passed> <failed>"."""

import pathlib
import re
import sys


def entries(text):
    """Returns the values by key: kind and name, after "v2" if the entry exists only in the 2.x line."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        length = 3 if words[0] == "v2" else 2
        found[" ".join(words[:length])] = " ".join(words[length:])
    return found


def version_of(include):
    """Returns major, minor and release, from the headers."""
    text = (pathlib.Path(include) / "H5public.h").read_text()
    return tuple(int(re.search(rf"#define H5_VERS_{part}\s+(\d+)", text)[1]) for part in ("MAJOR", "MINOR", "RELEASE"))


def expected(path, version):
    """Returns the allowed differences in this version: "<first version> <key> = <value there, or absent>"."""
    allowed = {}
    for line in pathlib.Path(path).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            first, _, rest = line.partition(" ")
            key, _, value = rest.rpartition(" = ")
            below = first.startswith("<")
            bound = tuple(int(n) for n in first.lstrip("<").split("."))
            if (version < bound) if below else (version >= bound):
                allowed[key.strip()] = value.strip()
    return allowed


def main():
    include, rust_path, c_path, differences = sys.argv[1:]
    version = version_of(include)
    rust = entries(pathlib.Path(rust_path).read_text())
    c = entries(pathlib.Path(c_path).read_text())
    allowed = expected(differences, version)
    wrong, unused = [], dict(allowed)
    if version[0] < 2:
        rust = {key: value for key, value in rust.items() if not key.startswith("v2 ")}
    for key in sorted(rust.keys() | c.keys()):
        there = c.get(key, "absent")
        if rust.get(key, "absent") == there:
            continue
        if allowed.get(key) == there:
            unused.pop(key)
        else:
            wrong.append(f"{key}: bindings {rust.get(key, 'absent')}, C {there}")
    wrong += [f"{key}: differences.txt says {value}, but it does not differ so" for key, value in unused.items()]
    name = ".".join(map(str, version))
    for line in wrong:
        print(f"HDF5 {name}: {line}")
    print(f"HDF5 {name}: {len(c)} entries, {len(allowed)} known differences, {len(wrong)} failures")
    print(len(rust.keys() | c.keys()) - min(len(wrong), len(c)), len(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
