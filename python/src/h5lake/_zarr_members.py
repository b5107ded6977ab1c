"""The members of Zarr groups, one by one, so that a member which cannot be opened hides no other member."""

import json
from functools import cached_property
from urllib.parse import quote, unquote

from ._errors import REFUSALS, line, naming

#: The names under which Zarr stores its metadata.
METADATA = {".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json"}
#: fsspec's layers that show the content of the layer below them.
CACHES = {"simplecache", "filecache", "blockcache", "cached"}


def opened(zarr, store, **more):
    """Opens the object at a path of a store by its own metadata, because consolidated metadata may be older. Raises
    FileNotFoundError if it does not exist, and ValueError with the reason if zarr-python cannot open it."""
    try:
        return zarr.open(store, mode="r", use_consolidated=False, **more)
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise ValueError(f"its metadata has no {error}") from error
    except (AssertionError, ImportError) as error:
        raise ValueError(f"zarr-python cannot open it: {line(error)}") from error


class Members:
    """The names in the groups of a hierarchy, as its store lists them. If a server lists nothing, the consolidated
    metadata has the names. It is preferred at a web server, because its pages may show something else."""

    def __init__(self, root, source: str):
        self._root, self._source = root, source
        self._is_remote = "://" in source
        layers = [part.partition("://")[0] for part in source.split("::")] if self._is_remote else []
        layer = next((layer for layer in layers if layer not in CACHES), "")
        self._is_web = layer in ("http", "https")
        # References do not list all groups in groups, either.
        self._is_unlisted = self._is_web or layer == "reference"

    def names(self, group) -> "list[str]":
        """Returns the names in a group. Raises an error if they cannot be determined."""
        with naming(f"{self._source}{group.name}"):
            if not self._is_unlisted or self._consolidated is None:
                listed, why = self._listed(group)
                if listed:
                    return sorted(listed - METADATA)
                # Nothing is listed, not even the group's own metadata.
                if not self._is_remote or self._consolidated is None:
                    raise OSError(f"the store lists nothing{why}, and there is no consolidated metadata; consolidate the metadata "
                                  "(zarr.consolidate_metadata), or copy the hierarchy to a folder first")
            return sorted(self._consolidated.get(unquote(group.path) if self._is_web else group.path, ()))

    def opened(self, zarr, group, name: str):
        """Opens a member. Raises FileNotFoundError if the name has no metadata, and ValueError with the reason if
        zarr-python cannot open it."""
        if "\\" in name:
            raise ValueError("zarr-python takes the backslash in its name for a slash")
        return opened(zarr, group.store, path=self._path(group, name), zarr_format=group.metadata.zarr_format)

    def is_folder(self, group, name: str) -> bool:
        """Returns whether there is anything below a name. Consolidated metadata has no other names."""
        return self._is_unlisted and self._consolidated is not None or bool(_listed(group.store, self._path(group, name)))

    def _path(self, group, name):
        """Returns the path of a member in the store: on the web, the path in its URL."""
        name = quote(name) if self._is_web else name
        return f"{group.path}/{name}" if group.path else name

    def _listed(self, group):
        """Returns the listed names of a group, and the reason if a server refused to list them."""
        try:
            found = _listed(group.store, group.path)
        except Exception as error:
            if not self._is_remote or not _is_denied(error):
                raise
            return set(), f" ({line(error)})"
        if self._is_web:
            # Some links on the page only sort it.
            found = {unquote(name.removeprefix("./")) for name in found if not name.startswith(("?", "#"))}
        return found - {""}, ""

    @cached_property
    def _consolidated(self):
        """Returns the names in each group by the consolidated metadata of the root; None without such metadata."""
        try:
            return _names_of(_entries(self._root))
        except REFUSALS as error:
            raise OSError(f"the consolidated metadata cannot be read: {line(error)}") from error


def _listed(store, path):
    """Returns the names that a store lists in a folder."""
    from zarr.core.sync import sync

    async def names():
        return [name async for name in store.list_dir(path)]

    return {name.rstrip("/") for name in sync(names())}


def _is_denied(error):
    """Returns whether a server says that it does not list folders, or does not know the request."""
    status = getattr(error, "status", None)
    return isinstance(error, PermissionError) or isinstance(status, int) and 400 <= status < 500


def _document(group, name):
    """Returns a document of a group's metadata; None if it does not exist."""
    from zarr.core.sync import sync

    found = sync((group.store_path / name).get())
    return None if found is None else json.loads(found.to_bytes())


def _entries(root):
    """Returns the paths in a root's consolidated metadata; None without any."""
    if root.metadata.zarr_format == 3:
        metadata = _document(root, "zarr.json").get("consolidated_metadata")
        return list(metadata["metadata"]) if metadata else None
    document = _document(root, ".zmetadata")
    # Each document has an entry there.
    return [key.rpartition("/")[0] for key in document["metadata"]] if document is not None else None


def _names_of(paths):
    """Returns the names in each group, from all paths."""
    if paths is None:
        return None
    found = {}
    for path in paths:
        path = path.strip("/")
        while path:
            group, _, name = path.rpartition("/")
            found.setdefault(group, set()).add(name)
            path = group
    return found
