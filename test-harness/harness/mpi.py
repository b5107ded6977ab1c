"""Runs MPI programs on few processors."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from . import ROOT

# Open MPI runs as root, or with more processes than processors, only with these settings; waiting processes yield.
OPEN_MPI = dict(OMPI_ALLOW_RUN_AS_ROOT=1, OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, OMPI_MCA_rmaps_base_oversubscribe=1,
                OMPI_MCA_mpi_yield_when_idle=1)
LIBRARY = ROOT / "target" / "tests-mpi" / "yield.so"


def variables():
    """Returns environment variables for mpiexec, with which waiting processes leave the processors to the other
    processes."""
    if not LIBRARY.exists():
        LIBRARY.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=LIBRARY.parent) as folder:  # concurrent steps may build it at the same time
            built = Path(folder) / LIBRARY.name
            subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                            "-o", built, ROOT / "tests-mpi" / "yield.c", "-ldl"], check=True)
            built.rename(LIBRARY)
    return dict(OPEN_MPI, LD_PRELOAD=LIBRARY)
