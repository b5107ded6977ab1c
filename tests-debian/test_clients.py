"""Clients as Debian 13 has them, with its libhdf5: each does a small piece of work natively and with the connector, and prints
what it reads. The output must be the same, every HDF5 file must be of the connector's kind, unless its name begins with 'native',
and h5diff must find no difference between the files of the two runs."""

import re
import shutil
from pathlib import Path

import pytest
from harness.connector import CONTAINER, SIGNATURE
from harness.suite import Failure

WORKFLOWS = Path(__file__).with_name("workflows")


def kind_of(path):
    """'container', 'native' or None, from the first bytes, or from those behind the 512 bytes of a user block (MAT files)."""
    with open(path, "rb") as file:
        first = file.read(512 + len(CONTAINER))
    heads = [head for head in (first, first[512:]) if head.startswith(SIGNATURE)]
    return ("container" if heads[0].startswith(CONTAINER) else "native") if heads else None


def files_of(folder):
    """The HDF5 files of a folder, {name: kind}."""
    kinds = {path.relative_to(folder).as_posix(): kind_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: kind for name, kind in kinds.items() if kind}


def work(r, workflow, folder, connector):
    """Runs a workflow in a new folder: what it printed, and its HDF5 files."""
    (r.work / folder).mkdir()
    shutil.copy(workflow, r.work / folder)
    printed = r.run(f"./{workflow.name}", folder=folder, connector=connector)
    return printed, files_of(r.work / folder)


def are_equal(shown):
    """Whether h5diff -v shows the same objects in both files, and no difference."""
    objects = re.findall(r"^ {4}([x ]) {6}([x ]) {4}\S", shown, re.M)
    counts = re.findall(r"^(\d+) differences found$", shown, re.M)
    return set(objects) == {("x", "x")} and set(counts) == {"0"}


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS.iterdir()), ids=lambda workflow: workflow.name)
def test_client(r, workflow):
    native, ours = f"native-{workflow.stem}", workflow.stem
    wanted, native_files = work(r, workflow, native, r.native)
    got, files = work(r, workflow, ours, r.connector)
    if not native_files or native_files.keys() != files.keys():
        raise Failure(f"natively it left {sorted(native_files)}, here {sorted(files)}")
    wrong = [name for name, kind in files.items() if kind != ("native" if name.startswith("native") else r.connector.files)]
    if wrong:
        raise Failure(f"not {r.connector.files} files: {', '.join(wrong)}")
    if got != wanted:
        raise Failure(f"natively it prints {wanted[-1500:]!r}, here {got[-1500:]!r}")
    if len(wanted) < 200:
        raise Failure(f"it reads too little: {wanted!r}")
    for name in files:
        # The exit status is 1 for empty datasets as well, which h5diff calls incomparable.
        shown = r.run("h5diff", "-v", f"{native}/{name}", f"{ours}/{name}", folder=".", connector=r.connector, expected=(0, 1))
        if not are_equal(shown):
            raise Failure(f"h5diff on {name}: {shown[-1500:]}")
