"""Shows a container, an old version or a branch in a notebook, with H5Web's viewer in JupyterLab."""

import os
import re
from pathlib import Path

from ._names import without_version

MIME_TYPE = "application/x-hdf5"


class Display:
    """The result of a notebook's cell that shows a container. `name` is its absolute name, with its version or
    branch."""

    def __init__(self, name: "str | os.PathLike[str]"):
        """Raises `FileNotFoundError` if no file has that name, without its version or branch; `ValueError` for a
        URL."""
        text = os.fspath(name)
        if re.match(r"\w+://", text):
            raise ValueError(f"{text}: the viewer takes local names; 'h5lake link' makes one for a container in a store")
        if not Path(text).is_file() and not Path(without_version(text)).is_file():
            raise FileNotFoundError(f"{text} is no file")
        self.name = os.path.abspath(text)

    def __repr__(self) -> str:
        return f"h5lake.display({self.name!r})"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {MIME_TYPE: self.name, "text/plain": repr(self)}


def display(name: "str | os.PathLike[str]") -> Display:
    """Shows a container in a notebook of JupyterLab, with the extension jupyterlab-h5web:
    `h5lake.display("run.h5@v=2")`. H5Web's own object refuses the names of old versions and of branches. The connector
    must be enabled in the server, because the kernel does not read the file. Raises `FileNotFoundError` and, for a URL,
    `ValueError`."""
    return Display(name)
