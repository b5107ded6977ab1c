"""The log that H5LAKE_LOG asks for."""
# store: any
# only: h5lake

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

from cases import main  # noqa: E402

PROGRAM = """
import os, sys, h5py
with h5py.File("a.h5", "w") as f:
    f["x"] = [1, 2, 3]
    f.flush()
    child = os.fork()
    if not child: os._exit(0)
    os.waitpid(child, 0)
    f["y"] = 1
try: h5py.File("a.h5", "w", driver="core", backing_store=False).close()
except OSError: pass
"""


def run(**variables):
    """What the program says on stderr."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env={**env, **variables}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stdout, done
    return done.stderr


def check_levels(folder):
    assert run() == "" and run(H5LAKE_LOG="") == "" and run(H5LAKE_LOG="error") == "" and run(H5LAKE_LOG="1") == ""
    info, debug = run(H5LAKE_LOG="info"), run(H5LAKE_LOG="debug")
    assert "created" in info and "closed" in info and "a.h5" in info and "committed" not in info, info
    assert debug.count("committed") >= 2 and "version=" in debug and "microseconds=" in debug, debug
    assert "takes error, warn, info, debug, trace, not 'loud'" in run(H5LAKE_LOG="loud")


def check_a_file_of_json(folder):
    assert run(H5LAKE_LOG="debug", H5LAKE_LOG_FILE="log", H5LAKE_LOG_FORMAT="json") == ""
    events = [json.loads(line) for line in Path("log").read_text().splitlines()]
    commits = [e["fields"] for e in events if e["fields"].get("message") == "committed"]
    assert len(commits) >= 2 and [c["version"] for c in commits] == sorted(c["version"] for c in commits), events
    assert all(e["level"] in ("INFO", "DEBUG") and e["timestamp"] for e in events)
    run(H5LAKE_LOG="info", H5LAKE_LOG_FILE="log")
    assert len(Path("log").read_text().splitlines()) > len(events), "it is appended to"
    err = run(H5LAKE_LOG="info", H5LAKE_LOG_FILE="no/such/folder/log")
    assert "H5LAKE_LOG_FILE" in err and "No such file" in err and "created" in err, err
    assert "takes text or json" in run(H5LAKE_LOG="error", H5LAKE_LOG_FORMAT="xml")


def check_no_credential_is_shown(folder):
    secret = "SECRETSECRETSECRET"
    env = dict(AWS_ACCESS_KEY_ID="AKIDAKIDAKID", AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN=secret + "T",
               AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ALLOW_HTTP="true", AWS_EC2_METADATA_DISABLED="true")
    code = "import h5py\ntry: h5py.File('s3://bucket/a.h5', 'w')\nexcept OSError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env, "H5LAKE_LOG": "trace", "H5LAKE_TIMEOUT": "2s"},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout and "SECRET" not in done.stdout + done.stderr, done


main(globals())
