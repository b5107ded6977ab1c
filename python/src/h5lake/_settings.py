"""Settings as keyword arguments, and the equivalent connector string."""

import os
import re

# Characters that end a word of a connector string, or must be quoted.
_NEEDS_QUOTES = re.compile(r"[\s'\"]")


def connector_string(**settings) -> str:
    """Returns the value of `HDF5_VOL_CONNECTOR` for these settings. True and False stand for yes and no, and None for a
    setting that is not given; a number of bytes, a path and a version may be given as such."""
    return " ".join(["h5lake", *_words(settings)])


def info_string(**settings) -> str:
    """Returns the connector string without the connector's name."""
    return " ".join(_words(settings))


def _words(settings):
    for key, value in settings.items():
        if value is not None:
            yield f"{key}={_quoted(_text(key, value))}"


def _text(key, value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, os.PathLike)):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    raise TypeError(f"the setting {key} takes a string, a number or a path, not {type(value).__name__}")


def _quoted(text: str) -> str:
    if not _NEEDS_QUOTES.search(text):
        return text
    return "\"'\"".join(f"'{part}'" for part in text.split("'"))
