"""The connector that each libhdf5 of this process uses, and the costs of the process's containers."""

import json
from dataclasses import dataclass

from ._libraries import CONNECTOR, loaded, locked


@dataclass(frozen=True)
class Library:
    """A libhdf5 of this process."""

    path: str
    version: "tuple[int, int, int]"
    #: The connector of files that are opened without an explicit connector.
    connector: str

    @property
    def is_h5lake(self) -> bool:
        """Returns whether new files become containers."""
        return self.connector == CONNECTOR.decode()


def libraries() -> "list[Library]":
    """Returns each libhdf5 that this process has loaded."""
    with locked():
        return [Library(hdf5.path, hdf5.version, hdf5.default_connector()) for hdf5 in loaded()]


def stats() -> "list[dict]":
    """Returns the costs of each container of this process: those that were closed, up to 256 of them, and those that
    are open. Times are in seconds; `h5lake docs troubleshooting#statistics` lists all keys. The list is empty if h5lake
    was not used yet."""
    with locked():
        answers = (hdf5.statistics() for hdf5 in loaded())
        # The plugin is the same, whichever library requests the statistics.
        text = next((answer for answer in answers if answer is not None), "[]")
    return json.loads(text)
