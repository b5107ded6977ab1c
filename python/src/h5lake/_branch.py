"""Branches: changes that are stored beside the main line, and are merged or discarded."""

import json
from dataclasses import dataclass

from ._tool import Name, _run


@dataclass(frozen=True)
class Branch:
    """A branch. Clients open it for reading or writing as `NAME@branch=BRANCH`."""

    branch: str
    base: int
    """The version that it began with."""
    made: str
    changed: str
    """When it was committed to last."""
    commits: int
    host: str
    pid: int
    user: str
    """The login name or number of the user who began it; empty if it is not known."""
    program: str
    """The program that began it, and its script, without folders; empty if it is not known."""
    message: str
    """The message that the program gave (`h5lake.message`); empty if it gave none."""


def _branch(entry: dict) -> Branch:
    return Branch(**{field: entry[field] for field in Branch.__dataclass_fields__})


def branch(name: Name, branch: str, **settings) -> Branch:
    """Begins a branch with the newest version, or with that of `NAME@v=3`. When this returns, the branch is
    committed."""
    return _branch(json.loads(_run("branch", "--json", "--", name, branch, settings=settings)[0]))


def branches(name: Name, **settings) -> "list[Branch]":
    """Returns the branches of a container, in the order of their names."""
    return [_branch(entry) for entry in json.loads(_run("branch", "--json", "--", name, settings=settings)[0])]


def merge(name: Name, branch: str, **settings) -> int:
    """Applies all changes of a branch in one commit, deletes the branch, and returns the new version. If the main line
    changed the same objects meanwhile, `ToolError` names them and the remedy, nothing is merged, and the branch
    remains. With `conflict="last"` the changes of the branch win instead."""
    return json.loads(_run("branch", "--merge", "--json", "--", name, branch, settings=settings)[0])["version"]


def delete_branch(name: Name, branch: str, **settings) -> None:
    """Deletes a branch, and the changes committed to it."""
    _run("branch", "--delete", "--", name, branch, settings=settings)
