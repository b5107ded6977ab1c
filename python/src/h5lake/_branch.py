"""Branches: changes that are kept beside the main line, merged or thrown away."""

import json
from dataclasses import dataclass

from ._tool import Name, _run


@dataclass(frozen=True)
class Branch:
    """A branch. Clients open it, to read or to write, as `NAME@branch=BRANCH`."""

    branch: str
    base: int
    """The version that it began with."""
    made: str
    changed: str
    """When it was committed to last."""
    commits: int
    host: str
    pid: int


def _branch(entry: dict) -> Branch:
    return Branch(**{field: entry[field] for field in Branch.__dataclass_fields__})


def branch(name: Name, branch: str, **settings) -> Branch:
    """Begins a branch with the newest version, or with that of `NAME@v=3`. When this returns, the branch is committed."""
    return _branch(json.loads(_run("branch", "--json", "--", name, branch, settings=settings)[0]))


def branches(name: Name, **settings) -> "list[Branch]":
    """The branches of a container, in the order of their names."""
    return [_branch(entry) for entry in json.loads(_run("branch", "--json", "--", name, settings=settings)[0])]


def merge(name: Name, branch: str, **settings) -> int:
    """Takes over all changes of a branch in one commit, deletes the branch, and returns the new version. If the main line changed the
    same things meanwhile, `ToolError` names them and says what to do, nothing is merged, and the branch stays. With `conflict="last"` the
    branch counts there."""
    return json.loads(_run("branch", "--merge", "--json", "--", name, branch, settings=settings)[0])["version"]


def delete_branch(name: Name, branch: str, **settings) -> None:
    """Deletes a branch, and what was written in it."""
    _run("branch", "--delete", "--", name, branch, settings=settings)
