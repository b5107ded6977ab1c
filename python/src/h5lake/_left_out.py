"""The parts that a copy leaves out."""

from contextlib import contextmanager

from ._errors import is_refusal, line, naming


class LeftOut(list):
    """A list of paths, each with a reason: paths of whole datasets or groups, and paths of parts such as attributes and
    links."""

    def __init__(self):
        super().__init__()
        self._objects = set()

    def add_object(self, path: str, why: str) -> None:
        """Adds a dataset, or a group with everything below it."""
        self._objects.add(len(self))
        self.append((path, why))

    @contextmanager
    def refusals_of(self, path: str, is_object: bool = False):
        """A block that copies the object at a path. If the copy is refused, the block ends and the path is added. An
        error of a file or store names the path and ends the copy."""
        try:
            with naming(path):
                yield
        except Exception as error:
            if not is_refusal(error):
                raise
            if is_object:
                self.add_object(path, line(error))
            else:
                self.append((path, line(error)))

    def entries(self) -> "list[dict]":
        """Returns all entries for JSON, which has no names that are not UTF-8."""
        def text(value):
            return value.encode("utf-8", "backslashreplace").decode()

        return [{"path": text(path), "reason": text(why), "is_object": n in self._objects} for n, (path, why) in enumerate(self)]
