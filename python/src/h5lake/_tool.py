"""The tool `h5lake` as functions. Each takes a container's path or URL, and the settings that `h5lake settings` lists."""

import json
import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from ._errors import ToolError
from ._plugin import checkout, missing
from ._report import libraries
from ._settings import connector_string

Name = Union[str, "os.PathLike[str]"]
#: The tool's exit code for what was done, and found something.
DAMAGED = DIFFERENT = PARTIAL = 2
LEFT_OUT = 3


@dataclass(frozen=True)
class Version:
    """A version that can be opened: `NAME@v=NUMBER`."""

    number: int
    #: When it was committed: UTC, RFC 3339.
    time: str
    #: Bytes that it added.
    bytes: int
    host: str
    pid: int
    #: The names of its tags.
    tags: "tuple[str, ...]" = ()


@dataclass(frozen=True)
class Listed:
    """A container of a directory, a bucket or a prefix, or a folder there."""

    #: The name below the listed place. A folder's ends with a slash.
    name: str
    #: "objects", "file", "pointer" or "folder".
    kind: str
    #: The path or URL that opens the container; None for a folder.
    location: "str | None" = None
    #: Bytes of all of its objects, old versions included.
    bytes: "int | None" = None
    #: When its manifest or file was written last: UTC, RFC 3339.
    modified: "str | None" = None
    #: The newest version: its number, its time, and its writer. None unless they were requested.
    version: "int | None" = None
    time: "str | None" = None
    host: "str | None" = None
    pid: "int | None" = None


@dataclass(frozen=True)
class Copied:
    """What a copy did."""

    #: The version of the source that the target shows now.
    version: int
    #: The one that it showed before; None if nothing was there. The same as `version` if the source had not changed.
    before: "int | None"
    #: Entries of the container's map that were written or deleted.
    entries: int
    #: Bytes of data that were moved. Small data is in the entries, and does not count.
    bytes: int
    #: Bytes of data that a copy which was killed or failed had moved before, and that were not moved again.
    continued: int = 0
    #: Why such a copy was of no use, and this one began anew; None if there was none, or it was.
    begun_anew: "str | None" = None


@dataclass(frozen=True)
class Drained:
    """What became of the stage of a writer that died."""

    #: The container.
    name: str
    #: The folder in which the rest lies, or lay.
    folder: str
    #: The writer.
    host: str
    pid: int
    #: "arrived", "stays", "waits" (it was only looked at), "discarded", or "in use": the writer lives.
    outcome: str
    #: Puts and deletions, and bytes of objects. None where a writer lives.
    operations: "int | None" = None
    bytes: "int | None" = None
    #: The newest version in the store before, and now; None unless all arrived.
    from_version: "int | None" = None
    to_version: "int | None" = None
    #: Why it stays.
    error: "str | None" = None


@dataclass(frozen=True)
class Tag:
    """A name under which a version stays: `NAME@tag=TAG`."""

    tag: str
    #: The version's number; None if the tag is damaged.
    version: "int | None"
    #: When the version was committed: UTC, RFC 3339.
    time: "str | None"
    #: When the tag was made, likewise.
    tagged: "str | None"
    #: From when on `vacuum` deletes the tag, likewise; None if it stays until somebody deletes it.
    until: "str | None"
    #: Bytes that it keeps from being used again. The newest version may use a part of them too.
    holds_bytes: int


@dataclass(frozen=True)
class Finding:
    """What `verify` found at one place."""

    severity: str
    kind: str
    at: str
    why: str
    path: "str | None"
    #: Whether the newest version is hit; else only older ones are.
    newest: bool
    #: The tag whose version is hit, where none of the newer ones is.
    tag: "str | None" = None


@dataclass(frozen=True)
class Difference:
    """One thing in which two containers differ."""

    path: str
    #: The attribute at that path, if it is one.
    attribute: "str | None"
    #: "added", "removed", "kind", "link", "shape", "type", "elements", or another property; "not compared".
    change: str
    #: What each has, as JSON. For elements: `differing`, `elements`, and the `first` ones that were asked for.
    detail: dict


def find() -> str:
    """The tool that was installed with this module."""
    schemes = {"scripts": sysconfig.get_path("scripts"), "user": sysconfig.get_path("scripts", f"{os.name}_user")}
    places = [Path(place) for place in schemes.values() if place]
    # pip install --target puts it beside the packages. In a checkout cargo builds it.
    places.append(Path(__file__).parents[1] / "bin")
    places += [Path(root) / "target" / kind for root in checkout() for kind in ("release", "debug")]
    for place in places:
        if os.access(place / "h5lake", os.X_OK):
            return str(place / "h5lake")
    found = shutil.which("h5lake")
    if not found:
        raise ImportError(missing("the tool h5lake", "cargo build --release --package h5lake-cli"))
    return found


def _run(*arguments, settings=None, connector=None, allowed=()) -> "tuple[str, int]":
    done = _finished(*arguments, settings=settings, connector=connector)
    if done.returncode and done.returncode not in allowed:
        raise ToolError(_said(done))
    return done.stdout, done.returncode


def _finished(*arguments, settings=None, connector=None) -> "subprocess.CompletedProcess[str]":
    env = dict(os.environ)
    if connector is None and settings:
        connector = connector_string(**settings)
    if connector is not None:
        env["HDF5_VOL_CONNECTOR"] = connector
    return subprocess.run([find(), *map(os.fspath, arguments)], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def _said(done) -> str:
    return done.stderr.strip().removeprefix("h5lake: ") or f"h5lake ended with {done.returncode}"


def versions(name: Name, *, most: "int | None" = None, **settings) -> "list[Version]":
    """The versions that can be opened, newest first."""
    more = ["-n", str(most)] if most is not None else []
    out, _ = _run("versions", "--json", *more, "--", name, settings=settings)
    fields = [field for field in Version.__dataclass_fields__ if field != "tags"]
    known = json.loads(out)["versions"]
    return [Version(**{field: entry[field] for field in fields}, tags=tuple(entry["tags"])) for entry in known]


def list_containers(place: Name, *, recursive: bool = False, long: bool = False, **settings) -> "list[Listed]":
    """The containers of a directory, a bucket or a prefix. Of a directory, its folders come first; with `recursive`, the containers in
    these folders are listed instead. With `long`, each has its newest version, which takes a request or more for each container."""
    place = os.fspath(place)
    more = (["-r"] if recursive else []) + (["-l"] if long else [])
    out, _ = _run("ls", "--json", *more, "--", place if place.endswith("/") else f"{place}/", settings=settings)
    return [Listed(**{field: entry.get(field) for field in Listed.__dataclass_fields__}) for entry in json.loads(out)]


def tag(name: Name, tag: str, *, force: bool = False, keep: "str | None" = None, **settings) -> Tag:
    """Keeps a version under the name `tag` until the tag is deleted: the newest one, or that of `NAME@v=3`. With `force`, a tag that
    is there is moved. `keep`, such as "30d", is how long the tag is to stay: then `vacuum` deletes it. When this returns, the tag is
    committed."""
    more = (["--force"] if force else []) + (["--keep", keep] if keep is not None else [])
    out, _ = _run("tag", "--json", *more, "--", name, tag, settings=settings)
    return _tag(json.loads(out))


def tags(name: Name, **settings) -> "list[Tag]":
    """The tags of a container, in the order of their names."""
    return [_tag(entry) for entry in json.loads(_run("tag", "--json", "--", name, settings=settings)[0])]


def untag(name: Name, tag: str, **settings) -> None:
    """Deletes a tag. Its version goes as others of its age do."""
    _run("tag", "--delete", "--", name, tag, settings=settings)


def _tag(entry: dict) -> Tag:
    return Tag(**{field: entry[field] for field in Tag.__dataclass_fields__})


def verify(name: Name, *, newest: bool = False, **settings) -> "list[Finding]":
    """Checks every checksum, reference, count and free range, and returns what is damaged or odd: nothing for a container that is
    whole. Nothing is changed, and others may write meanwhile."""
    more = ["--newest"] if newest else []
    out, _ = _run("verify", "--json", *more, "--", name, settings=settings, allowed=(DAMAGED,))
    return [Finding(**{field: entry.get(field) for field in Finding.__dataclass_fields__}) for entry in json.loads(out)["found"]]


def repair(source: Name, target: Name, **settings) -> bool:
    """Makes a new container with all that is intact in a damaged one; whether all was, tags and branches included."""
    return _run("repair", "--quiet", "--", source, target, settings=settings, allowed=(DAMAGED, LEFT_OUT))[1] == 0


def vacuum(name: Name, **settings) -> None:
    """Gives back room that nobody needs. When this returns, it is given back."""
    _run("vacuum", "--", name, settings=settings)


def drain(folder: Name, *names: str, discard: bool = False, dry_run: bool = False, **settings) -> "list[Drained]":
    """Brings to their stores what writers with the setting `stage` left in a folder of this machine when they died: of the named
    containers, or of all. What another writer overtook stays, and its `outcome` is "stays". `discard` throws away what is left of the
    named containers, and `dry_run` changes nothing."""
    more = (["--discard"] if discard else []) + (["--dry-run"] if dry_run else [])
    out, _ = _run("drain", "--json", *more, "--", folder, *names, settings=settings, allowed=(PARTIAL,))
    entries = map(json.loads, out.splitlines())
    return [Drained(**{field: entry.get(field) for field in Drained.__dataclass_fields__}) for entry in entries]


def restore(name: Name, id: str = "", *, version: "int | str | None" = None, **settings) -> None:
    """Brings a container back that was replaced or deleted: the last one, or the one whose name in `h5lake versions` begins
    with `id`. With `version`, a number
    or a time, makes that version the newest one again."""
    if version is not None:
        _run("restore", "--quiet", "--version", str(version), "--", name, settings=settings)
    else:
        _run("restore", "--", name, id, settings=settings)


def diff(first: Name, second: Name, path: str = "/", *, elements: int = 0, chunks: bool = False, storage: bool = False,
         **settings) -> "list[Difference]":
    """What two containers, or two versions (`NAME@v=3`), differ in below `path`; nothing if they are equal. `elements` first elements
    of each dataset and attribute are shown. With `chunks`, the detail "chunks" of a dataset has the coordinates of the first elements
    of the chunks that differ. With `storage`, layouts, chunks and filters are compared, too."""
    more = (["--chunks"] if chunks else []) + (["--storage"] if storage else [])
    out, _ = _run("diff", "--json", "--elements", str(elements), *more, "--", first, second, path, settings=settings, allowed=(DIFFERENT,))
    made = []
    for entry in json.loads(out):
        known = {field: entry.pop(field, None) for field in ("path", "attribute", "change")}
        made.append(Difference(**known, detail=entry))
    return made


def copy(source: Name, target: Name, *, update: bool = False, **settings) -> Copied:
    """Copies a container, or a version of it, to where nothing is. When this returns, the copy is whole. A copy that was killed or
    failed continues when it is started again within a day: what had arrived is not sent again. With `update`, an earlier copy is
    brought up to date: only what changed since is moved, in one commit. It must not have been written to, and the source must still
    keep the version that it shows; else `ToolError` says what to do."""
    more = ["--update"] if update else []
    done = json.loads(_run("copy", "--json", *more, "--", source, target, settings=settings)[0])
    return Copied(**{field: done[field] for field in Copied.__dataclass_fields__})


def remove(*names: Name, **settings) -> None:
    """Deletes containers and their pointer files. `restore` brings back what the retention time keeps."""
    _run("rm", "--", *names, settings=settings)


def import_native(source: Name, target: Name, **options) -> None:
    """Makes containers of a native HDF5 file, or of all in a folder. Options: `library`, a libhdf5 or a program that loads one, if it
    is to be another one than this process has; `jobs`, how many files at a time; and settings. The files that can be converted are, and
    `ToolError` names each of the others with the reason."""
    _convert("import", source, target, **options)


def export_native(source: Name, target: Name, **options) -> None:
    """Makes native HDF5 files of a container, a version, or of all in a folder. Options are those of `import_native`."""
    _convert("export", source, target, **options)


def _convert(way, source, target, *, library=None, jobs=None, **settings):
    more = [*_library(library), *(["--jobs", str(jobs)] if jobs is not None else [])]
    done = _finished(way, "--json", *more, "--", source, target, settings=settings)
    if done.returncode:
        raise ToolError(_failures(source, done.stdout) or _said(done))


def _failures(source, out) -> str:
    """Which files of a folder could not be converted, and why; nothing of what is no folder, or was not begun."""
    files = list(map(json.loads, out.splitlines()))
    # Most reasons begin with the file.
    failed = [f"{name}: {why.removeprefix(f'{name}: ')}" for name, why in ((file["name"], file["error"]) for file in files) if why is not None]
    if not failed:
        return ""
    return "\n  ".join([f"{os.fspath(source)}: {len(failed)} of {len(files)} files could not be converted", *failed])


def _library(library):
    """The option for a libhdf5: the one that is named, or one that this process has; else the tool looks for one."""
    if library is None:
        library = next((loaded.path for loaded in libraries() if loaded.version >= (1, 14, 0)), None)
    return ["--library", os.fspath(library)] if library is not None else []


def link(url: str, path: Name, **settings) -> None:
    """Makes a pointer file: programs that open `path` then open the container at `url`."""
    _run("link", "--", url, path, settings=settings)


def unlock(name: Name, **settings) -> None:
    """Takes the lock of a container in a store away from a writer that is gone. One that lives loses what it has not
    committed."""
    _run("unlock", "--yes", "--", name, settings=settings)
