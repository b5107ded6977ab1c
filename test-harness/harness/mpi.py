"""How programs for MPI are run on few processors."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from . import ROOT

# Open MPI asks for a word before it runs as root, or more processes than processors; those that wait yield.
OPEN_MPI = dict(OMPI_ALLOW_RUN_AS_ROOT=1, OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, OMPI_MCA_rmaps_base_oversubscribe=1,
                OMPI_MCA_mpi_yield_when_idle=1)
LIBRARY = ROOT / "target" / "tests-mpi" / "yield.so"


def variables():
    """The variables of the environment for mpiexec, with which processes that wait leave the processors to the others."""
    if not LIBRARY.exists():
        LIBRARY.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=LIBRARY.parent) as folder:  # steps that run side by side build it at the same time
            built = Path(folder) / LIBRARY.name
            subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                            "-o", built, ROOT / "tests-mpi" / "yield.c", "-ldl"], check=True)
            built.rename(LIBRARY)
    return dict(OPEN_MPI, LD_PRELOAD=LIBRARY)
