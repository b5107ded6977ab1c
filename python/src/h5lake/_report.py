"""What each libhdf5 of this process uses, and what its containers cost."""

import json
from dataclasses import dataclass

from ._libraries import CONNECTOR, loaded, locked


@dataclass(frozen=True)
class Library:
    """A libhdf5 of this process."""

    path: str
    version: "tuple[int, int, int]"
    #: The connector of files that are opened without a word about connectors.
    connector: str

    @property
    def is_h5lake(self) -> bool:
        """Whether new files become containers."""
        return self.connector == CONNECTOR.decode()


def libraries() -> "list[Library]":
    """Each libhdf5 that this process has loaded."""
    with locked():
        return [Library(hdf5.path, hdf5.version, hdf5.default_connector()) for hdf5 in loaded()]


def stats() -> "list[dict]":
    """What each container of this process cost: those that were closed, up to 256 of them, and those that are open. Times are in
    seconds; `h5lake docs troubleshooting#statistics` has all keys. The list is empty if nothing has used h5lake yet."""
    with locked():
        answers = (hdf5.statistics() for hdf5 in loaded())
        # The plugin is one, whatever library asks it.
        text = next((answer for answer in answers if answer is not None), "[]")
    return json.loads(text)
