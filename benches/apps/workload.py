"""The base of all workloads."""

import numpy as np


class Workload:
    """One use of files in phases: its public methods, in the order of their definition."""

    environment = "science.txt"

    def __init__(self, n):
        self.n, self.random = n, np.random.default_rng(7)

    @classmethod
    def phases(cls):
        """Returns the names of its phases."""
        return [name for name, value in vars(cls).items() if callable(value) and not name.startswith("_")]
