"""The tool's `log` shows the history that h5py's commits make, with the messages of the programs, and reads no more of a
store than is needed."""
# only: h5lake
# needs: tool

import json
import os

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake retention=1h"

import h5py  # noqa: E402
from cases import main  # noqa: E402
from tool import run  # noqa: E402
from web_server import Server  # noqa: E402


def make(name):
    """Makes five versions, of which the third is the base of a branch with a commit of its own."""
    with h5py.File(name, "w") as f:
        for n in range(500):
            f.create_group(f"g{n}").attrs["text"] = "y" * 50
        f.flush()
        f["x"] = 1
    run("branch", name, "fix")
    with h5py.File(f"{name}@branch=fix", "r+") as f:
        f["x"][()] = 2


def check_commits_of_a_branch_are_counted(_):
    make("a.h5")
    lines = run("log", "--graph", "--oneline", "a.h5").splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("| * branch fix: "))
    [branch] = json.loads(run("log", "--graph", "--json", "a.h5"))["branches"]
    assert branch["commits"] == 1 and f"fix: {branch['commits']} commit, " in lines[at], (lines, branch)
    assert lines[at + 1] == "|/" and lines[at + 2].startswith(f"* {branch['base']} "), lines


def check_only_the_graph_of_branches_reads_the_map(folder):
    """The log reads the manifest and the history of the container, and the map only if --graph draws branches."""
    with Server(folder) as server:
        def cost(*command):
            server.take()
            run(*command, f"{server.url}/a.h5")
            return server.take()[0]

        make(f"file://{folder}/a.h5")
        log = cost("log")
        assert 0 < log <= 4, log
        # A web server has no listings, and no replaced containers.
        versions = json.loads(run("versions", "--json", f"{server.url}/a.h5"))
        assert len(versions["versions"]) > 1 and versions["replaced"] == [], versions
        assert cost("log", "--oneline") == cost("log", "--json") == cost("log", "-n", "1") == log
        assert log <= cost("log", "--graph") <= log + 3, log
        run("branch", "--delete", f"file://{folder}/a.h5", "fix")
        assert cost("log", "--graph") == cost("log") <= log, log


if __name__ == "__main__":
    main(globals())
