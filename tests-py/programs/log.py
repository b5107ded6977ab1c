"""The log that H5LAKE_LOG enables."""
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


REFRESH = """
import h5py
def requests():
    return open("log").read().count('"message":"request"')
with h5py.File("a.h5", "w") as f:
    f["x"] = [1, 2, 3]
with h5py.File("a.h5") as f:
    x = f["x"]
    before = requests()
    for n in range(3):
        x.id.refresh()
    assert requests() == before + 3, (before, requests())
"""


def run(program=PROGRAM, **variables):
    """Runs a program and returns its stderr."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    done = subprocess.run([sys.executable, "-c", program], env={**env, **variables}, capture_output=True, text=True, timeout=60)
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


def summaries(text):
    return [e["fields"] for e in map(json.loads, text.splitlines()) if e["fields"].get("message") == "statistics"]


def check_statistics_of_a_file(folder):
    text = run(H5LAKE_STATS="1")
    assert text.count("\n") == 1, text
    for part in ("a.h5: open for ", "commits: 2 in ", "0 conflicts", "bytes written", "write: ", "block cache: ", "page cache: "):
        assert part in text, (part, text)
    assert run(H5LAKE_STATS="") == run(H5LAKE_STATS="0") == "" and "takes 1, not 'yes'" in run(H5LAKE_STATS="yes")
    (shown,) = summaries(run(H5LAKE_STATS="1", H5LAKE_LOG_FORMAT="json"))
    assert shown["commits"]["count"] == 2 and shown["commits"]["failed"] == 0 and not shown["open"] and shown["writable"], shown
    assert shown["commits"]["total_seconds"] >= shown["commits"]["max_seconds"] >= shown["commits"]["mean_seconds"] > 0
    assert shown["bytes_written"] == shown["requests"]["write"]["bytes"] > 0, shown
    # The summary is written to the log's file, among the other messages.
    assert run(H5LAKE_STATS="1", H5LAKE_LOG="info", H5LAKE_LOG_FORMAT="json", H5LAKE_LOG_FILE="log") == ""
    lines = Path("log").read_text()
    assert len(summaries(lines)) == 1 and "created" in lines and "closed" in lines


def in_a_store(folder, program=PROGRAM, **variables):
    store = dict(HDF5_VOL_CONNECTOR=f"h5lake store=file://{folder}/objects replace=any")
    return run(program, H5LAKE_LOG_FORMAT="json", **store, **variables)


def check_requests_of_a_store(folder):
    text = in_a_store(folder, H5LAKE_STATS="1", H5LAKE_LOG="debug")
    requests = [e["fields"] for e in map(json.loads, text.splitlines()) if e["fields"].get("message") == "request"]
    (shown,) = summaries(text)
    assert {r["kind"] for r in requests} >= {"get", "put"} and {r["outcome"] for r in requests} >= {"ok", "not found"}, requests
    for r in requests:
        assert r["store"].startswith("file:") and r["microseconds"] >= 0 and r["retries"] == 0, r
    assert any("a.h5" in r["key"] for r in requests)
    # The log also has the requests that looked for the container before it was opened.
    told = {kind: sum(r["kind"] == kind for r in requests) for kind in ("get", "put", "head", "list", "delete")}
    for kind, requested in shown["requests"].items():
        assert told[kind] >= requested["count"], (kind, told, requested)
    puts = shown["requests"]["put"]
    assert shown["bytes_written"] == puts["bytes"] > 0 and puts["count"] == told["put"] > 0, (told, shown)
    assert puts["total_seconds"] >= puts["max_seconds"] >= puts["mean_seconds"] > 0 and shown["retries"] == 0, shown
    assert '"request"' not in in_a_store(folder, H5LAKE_LOG="info")


def check_a_refresh_is_one_request(folder):
    in_a_store(folder, REFRESH, H5LAKE_LOG="debug", H5LAKE_LOG_FILE="log")


def check_no_credential_is_shown(folder):
    secret = "SECRETSECRETSECRET"
    env = dict(AWS_ACCESS_KEY_ID="AKIDAKIDAKID", AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN=secret + "T",
               AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ALLOW_HTTP="true", AWS_EC2_METADATA_DISABLED="true")
    code = "import h5py\ntry: h5py.File('s3://bucket/a.h5', 'w')\nexcept OSError as e: print(e)"
    more = {"H5LAKE_LOG": "trace", "H5LAKE_STATS": "1", "H5LAKE_TIMEOUT": "2s"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env, **more}, capture_output=True, text=True, timeout=60)
    shown = done.stdout + done.stderr
    assert done.returncode == 0 and done.stdout and "SECRET" not in shown and "AKID" not in shown, done
    tries = [line for line in done.stderr.splitlines() if "a try of a request failed" in line]
    assert any("retry=0" in line for line in tries) and any("retry=1" in line for line in tries), done.stderr
    failed = [line for line in done.stderr.splitlines() if ": request " in line]
    assert failed and any('outcome="' in line and "retries=0" not in line for line in failed), done.stderr
    # A URL with a secret is refused, or the part after its '?' is not shown.
    for url in (f"s3://AKID:{secret}@bucket/a.h5", f"https://AKID:{secret}@127.0.0.1:9/a.h5",
                f"https://127.0.0.1:9/a.h5?X-Amz-Signature={secret}"):
        code = f"import h5py\ntry: h5py.File({url!r})\nexcept OSError as e: print('refused')"
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env, **more}, capture_output=True, text=True, timeout=60)
        assert done.stdout == "refused\n" and "SECRET" not in done.stderr, (url, done)


main(globals())
