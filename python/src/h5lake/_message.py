"""Messages of commits."""

from . import _plugin

_present = ""


class message:  # noqa: N801, because it is used like a function
    """Sets the message of the commits that this process makes from now on: flushes and closes of every container. With
    an empty text, the setting `message=` applies. `h5lake versions` and `h5lake.versions` show it.

    In a `with` statement the message before applies again at its end:

        with h5lake.message("calibrated with lamp 3"):
            f.flush()

    Raises ValueError for more than 512 bytes of UTF-8, or for control characters."""

    def __init__(self, text: str):
        global _present
        _plugin.call("h5lake_set_message", text)
        self._before, _present = _present, text

    def __enter__(self) -> "message":
        return self

    def __exit__(self, *_) -> None:
        message(self._before)
