"""The tool `h5lake` as functions. Each takes a container's path or URL, and the settings that `h5lake settings`
lists."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from ._errors import ToolError
from ._plugin import checkout, missing
from ._report import libraries
from ._settings import connector_string

Name = Union[str, "os.PathLike[str]"]
#: The tool's exit code for a command that was carried out and found something.
DAMAGED = DIFFERENT = PARTIAL = 2
LEFT_OUT = 3


@dataclass(frozen=True)
class Version:
    """A version that can be opened: `NAME@v=NUMBER`."""

    number: int
    #: The time of its commit: UTC, RFC 3339.
    time: str
    #: The bytes that it added.
    bytes: int
    host: str
    pid: int
    #: The login name or number of the user; empty if it is not known.
    user: str
    #: The program and its script, without folders; empty if it is not known.
    program: str
    #: The message of the commit (`h5lake.message`); empty if there is none.
    message: str
    #: The number of MPI processes whose collective flush or close made the version; 0 for any other version.
    processes: int
    #: The names of its tags.
    tags: "tuple[str, ...]" = ()


@dataclass(frozen=True)
class Listed:
    """A container in a directory, a bucket or a prefix, or a folder there."""

    #: The name below the listed place. A folder's ends with a slash.
    name: str
    #: "objects", "file", "pointer" or "folder".
    kind: str
    #: The path or URL that opens the container; None for a folder.
    location: "str | None" = None
    #: Bytes of all of its objects, old versions included.
    bytes: "int | None" = None
    #: The time of the last write of its manifest or file: UTC, RFC 3339.
    modified: "str | None" = None
    #: The newest version: its number, its time, and its writer. None unless they were requested.
    version: "int | None" = None
    time: "str | None" = None
    host: "str | None" = None
    pid: "int | None" = None


@dataclass(frozen=True)
class Copied:
    """The result of a copy."""

    #: The version of the source that the target shows now.
    version: int
    #: The version that it showed before; None if there was no target. Equal to `version` if the source had not changed.
    before: "int | None"
    #: Entries of the container's map that were written or deleted.
    entries: int
    #: Bytes of data that were transferred. Small data is in the entries, and does not count.
    bytes: int
    #: Bytes of data that an earlier copy, which was killed or failed, had transferred, and that were not transferred
    #: again.
    continued: int = 0
    #: The reason why such a copy could not be continued, so that this one began anew; None if there was none, or it was
    #: continued.
    begun_anew: "str | None" = None


@dataclass(frozen=True)
class Drained:
    """The result of draining the staging directory of a dead writer."""

    #: The container.
    name: str
    #: The staging directory that has, or had, the pending uploads.
    folder: str
    #: The host name and the process id of the writer.
    host: str
    pid: int
    #: "arrived", "stays", "waits" (it was only inspected), "discarded", or "in use": the writer is alive.
    outcome: str
    #: Puts and deletions, and bytes of objects. None if the writer is alive.
    operations: "int | None" = None
    bytes: "int | None" = None
    #: The newest version in the store before, and now; None unless everything was uploaded.
    from_version: "int | None" = None
    to_version: "int | None" = None
    #: The reason why it stays.
    error: "str | None" = None


@dataclass(frozen=True)
class Tag:
    """A name that retains a version: `NAME@tag=TAG`."""

    tag: str
    #: The version's number; None if the tag is damaged.
    version: "int | None"
    #: The time of the version's commit: UTC, RFC 3339.
    time: "str | None"
    #: The time at which the tag was made: UTC, RFC 3339.
    tagged: "str | None"
    #: The time from which `vacuum` deletes the tag: UTC, RFC 3339; None if it exists until a user deletes it.
    until: "str | None"
    #: The bytes that the tag keeps from being reused. In a file, the newest version may use a part of them, too; in a store,
    #: only bytes that no other version needs are counted.
    holds_bytes: int


@dataclass(frozen=True)
class Finding:
    """A finding of `verify` at one location."""

    severity: str
    kind: str
    at: str
    why: str
    path: "str | None"
    #: Whether the newest version is affected; otherwise only older versions are.
    newest: bool
    #: The tag of the affected version, if no newer version is affected.
    tag: "str | None" = None


@dataclass(frozen=True)
class Difference:
    """One difference between two containers."""

    path: str
    #: The attribute at that path, if the difference is in an attribute.
    attribute: "str | None"
    #: "added", "removed", "kind", "link", "shape", "type", "elements", or another property; "not compared".
    change: str
    #: The values of both sides, as JSON. For elements: `differing`, `elements`, and the requested `first` ones.
    detail: dict


def find() -> str:
    """Returns the path of the tool that was installed with this module."""
    schemes = {"scripts": sysconfig.get_path("scripts"), "user": sysconfig.get_path("scripts", f"{os.name}_user")}
    places = [Path(place) for place in schemes.values() if place]
    # pip install --target puts the tool beside the packages. In a checkout cargo builds it.
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


def environment(connector) -> "dict[str, str]":
    """Returns the environment of the tool, with a connector string if one is given."""
    env = dict(os.environ)
    # The tool asks `python3` where packages are, which may have a libhdf5. A program that embeds Python may have no such file.
    if sys.executable:
        env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env.get("PATH", os.defpath)])
    return env if connector is None else env | {"HDF5_VOL_CONNECTOR": connector}


def _finished(*arguments, settings=None, connector=None) -> "subprocess.CompletedProcess[str]":
    if connector is None and settings:
        connector = connector_string(**settings)
    return subprocess.run([find(), *map(os.fspath, arguments)], env=environment(connector), stdin=subprocess.DEVNULL,
                          capture_output=True, encoding="utf-8", errors="replace")


def _said(done) -> str:
    return done.stderr.strip().removeprefix("h5lake: ") or f"h5lake ended with {done.returncode}"


def versions(name: Name, *, most: "int | None" = None, **settings) -> "list[Version]":
    """Returns the history of a container: the versions that can be opened, newest first, with their authors, messages and
    tags. `branches` lists the branches, with the versions that they begin with."""
    more = ["-n", str(most)] if most is not None else []
    out, _ = _run("versions", "--json", *more, "--", name, settings=settings)
    fields = [field for field in Version.__dataclass_fields__ if field != "tags"]
    known = json.loads(out)["versions"]
    return [Version(**{field: entry[field] for field in fields}, tags=tuple(entry["tags"])) for entry in known]


def list_containers(place: Name, *, recursive: bool = False, long: bool = False, **settings) -> "list[Listed]":
    """Returns the containers of a directory, a bucket or a prefix. For a directory, its folders come first; with
    `recursive`, the containers in these folders are listed instead. With `long`, each has its newest version, which
    takes at least one request for each container."""
    place = os.fspath(place)
    more = (["-r"] if recursive else []) + (["-l"] if long else [])
    out, _ = _run("ls", "--json", *more, "--", place if place.endswith("/") else f"{place}/", settings=settings)
    return [Listed(**{field: entry.get(field) for field in Listed.__dataclass_fields__}) for entry in json.loads(out)]


def tag(name: Name, tag: str, *, force: bool = False, keep: "str | None" = None, **settings) -> Tag:
    """Retains a version under the name `tag` until the tag is deleted: the newest version, or that of `NAME@v=3`. With
    `force`, an existing tag is moved. `keep`, such as "30d", is the time after which `vacuum` deletes the tag. When
    this returns, the tag is committed."""
    more = (["--force"] if force else []) + (["--keep", keep] if keep is not None else [])
    out, _ = _run("tag", "--json", *more, "--", name, tag, settings=settings)
    return _tag(json.loads(out))


def tags(name: Name, **settings) -> "list[Tag]":
    """Returns the tags of a container, in the order of their names."""
    return [_tag(entry) for entry in json.loads(_run("tag", "--json", "--", name, settings=settings)[0])]


def untag(name: Name, tag: str, **settings) -> None:
    """Deletes a tag. Its version is then retained only as long as other versions of its age."""
    _run("tag", "--delete", "--", name, tag, settings=settings)


def _tag(entry: dict) -> Tag:
    return Tag(**{field: entry[field] for field in Tag.__dataclass_fields__})


def verify(name: Name, *, newest: bool = False, **settings) -> "list[Finding]":
    """Checks every checksum, reference, count and free range, and returns findings of damage or inconsistencies: an
    empty list for an intact container. Nothing is changed, and other processes may write meanwhile."""
    more = ["--newest"] if newest else []
    out, _ = _run("verify", "--json", *more, "--", name, settings=settings, allowed=(DAMAGED,))
    return [Finding(**{field: entry.get(field) for field in Finding.__dataclass_fields__}) for entry in json.loads(out)["found"]]


def repair(source: Name, target: Name, **settings) -> bool:
    """Makes a new container with everything that is intact in a damaged one. Returns whether everything was, including
    tags and branches."""
    return _run("repair", "--quiet", "--", source, target, settings=settings, allowed=(DAMAGED, LEFT_OUT))[1] == 0


def vacuum(name: Name, **settings) -> None:
    """Frees space that is no longer needed. When this returns, the space is free."""
    _run("vacuum", "--", name, settings=settings)


def drain(folder: Name, *names: str, discard: bool = False, dry_run: bool = False, **settings) -> "list[Drained]":
    """Uploads to their stores the operations that writers with the setting `stage` left in a folder of this machine
    when they died: those of the named containers, or of all. Operations that another writer overtook stay, and their
    `outcome` is "stays". `discard` discards the remaining operations of the named containers, and `dry_run` changes
    nothing."""
    more = (["--discard"] if discard else []) + (["--dry-run"] if dry_run else [])
    out, _ = _run("drain", "--json", *more, "--", folder, *names, settings=settings, allowed=(PARTIAL,))
    entries = map(json.loads, out.splitlines())
    return [Drained(**{field: entry.get(field) for field in Drained.__dataclass_fields__}) for entry in entries]


def restore(name: Name, id: str = "", *, version: "int | str | None" = None, **settings) -> None:
    """Restores a container that was replaced or deleted: the last one, or the one with a name in `h5lake versions` that
    begins with `id`. With `version`, a number or a time, makes that version the newest one again."""
    if version is not None:
        _run("restore", "--quiet", "--version", str(version), "--", name, settings=settings)
    else:
        _run("restore", "--", name, id, settings=settings)


def diff(first: Name, second: Name, path: str = "/", *, elements: int = 0, chunks: bool = False, storage: bool = False,
         **settings) -> "list[Difference]":
    """Returns the differences of two containers, or of two versions (`NAME@v=3`), below `path`; an empty list if they
    are equal. The `elements` first elements of each dataset and attribute are shown. With `chunks`, the detail "chunks"
    of a dataset has the coordinates of the first elements of the chunks that differ. With `storage`, layouts, chunks
    and filters are compared, too."""
    more = (["--chunks"] if chunks else []) + (["--storage"] if storage else [])
    out, _ = _run("diff", "--json", "--elements", str(elements), *more, "--", first, second, path, settings=settings, allowed=(DIFFERENT,))
    made = []
    for entry in json.loads(out):
        known = {field: entry.pop(field, None) for field in ("path", "attribute", "change")}
        made.append(Difference(**known, detail=entry))
    return made


def copy(source: Name, target: Name, *, update: bool = False, **settings) -> Copied:
    """Copies a container, or a version of it, to a name that does not exist. When this returns, the copy is complete. A
    copy that was killed or failed continues when it is started again within a day: data that had arrived is not sent
    again. With `update`, an earlier copy is brought up to date: only the data that changed since is transferred, in one
    commit. The copy must not have been written to, and the source must still retain the version that the copy shows;
    otherwise `ToolError` names the remedy."""
    more = ["--update"] if update else []
    done = json.loads(_run("copy", "--json", *more, "--", source, target, settings=settings)[0])
    return Copied(**{field: done[field] for field in Copied.__dataclass_fields__})


def remove(*names: Name, **settings) -> None:
    """Deletes containers and their pointer files. `restore` brings them back within the retention time."""
    _run("rm", "--", *names, settings=settings)


def import_native(source: Name, target: Name, **options) -> None:
    """Makes containers of a native HDF5 file, or of all files in a folder. Options: `library`, a libhdf5 or a program
    that loads one, if it is not the one of this process; `jobs`, the number of concurrent files; and settings. All
    files that can be converted are, and `ToolError` names each other file with the reason."""
    _convert("import", source, target, **options)


def export_native(source: Name, target: Name, **options) -> None:
    """Makes native HDF5 files of a container, a version, or all containers in a folder. Options are those of
    `import_native`."""
    _convert("export", source, target, **options)


def _convert(way, source, target, *, library=None, jobs=None, **settings):
    more = [*_library(library), *(["--jobs", str(jobs)] if jobs is not None else [])]
    done = _finished(way, "--json", *more, "--", source, target, settings=settings)
    if done.returncode:
        raise ToolError(_failures(source, done.stdout) or _said(done))


def _failures(source, out) -> str:
    """Returns the files of a folder that could not be converted, with reasons; an empty text if the source is no
    folder, or the conversion did not begin."""
    files = list(map(json.loads, out.splitlines()))
    # Most reasons begin with the name of the file.
    failed = [f"{name}: {why.removeprefix(f'{name}: ')}" for name, why in ((file["name"], file["error"]) for file in files) if why is not None]
    if not failed:
        return ""
    return "\n  ".join([f"{os.fspath(source)}: {len(failed)} of {len(files)} files could not be converted", *failed])


def _library(library):
    """Returns the option for a libhdf5: the one that is named, or one that this process has; otherwise the tool
    searches for one."""
    if library is None:
        library = next((loaded.path for loaded in libraries() if loaded.version >= (1, 14, 0)), None)
    return ["--library", os.fspath(library)] if library is not None else []


def link(url: str, path: Name, **settings) -> None:
    """Makes a pointer file: programs that open `path` then open the container at `url`."""
    _run("link", "--", url, path, settings=settings)


def unlock(name: Name, **settings) -> None:
    """Takes the lock of a container in a store away from a writer that is gone. A writer that is still alive loses its
    uncommitted changes."""
    _run("unlock", "--yes", "--", name, settings=settings)
