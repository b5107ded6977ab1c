"""Names that a stranger put into a file: they neither reach another host, nor replace or delete a file that is no
container."""
# store: any
# only: h5lake

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

if "HDF5_VOL_CONNECTOR" in os.environ:
    # The names lead to local files, whatever store the other programs use.
    os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
from cases import deleting, main  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reader"))
from ledger import crc32c  # noqa: E402

STRANGER = 12345
WRITE = "import h5py\nwith h5py.File('p.h5', 'w') as f: f['x'] = [1, 2, 3]"
CHANGE = "import h5py\nwith h5py.File('p.h5', 'r+') as f: f['x'][0] = 1"
READ = "import h5py\nprint(h5py.File('p.h5')['x'][:].tolist())"
DELETE = deleting("p.h5")


def pointer(path, store, key, owner=None):
    """Writes a pointer file with a valid checksum (docs/format.md)."""
    text = f"{store}\n{key}".encode()
    data = b"\x89HDF\r\n\x1a\n\x4ch5lptr\0" + struct.pack("<II", 1, len(text)) + text
    Path(path).unlink(missing_ok=True)
    Path(path).write_bytes(data + struct.pack("<I", crc32c(data)))
    if owner is not None:
        os.chown(path, owner, owner)


def run(code, connector="h5lake", **variables):
    """Runs a program and returns its exit status, output and error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HTTP_", "MINIO_"))}
    env.update(HDF5_VOL_CONNECTOR=connector, AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull,
               AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_MAX_ATTEMPTS="1", **variables)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip(), done.stderr


def works(code, connector="h5lake", **variables):
    status, out, err = run(code, connector, **variables)
    assert status == 0, err
    return out


def refused(code, *words, connector="h5lake", **variables):
    status, _, err = run(code, connector, **variables)
    assert status, f"it was done: {code}"
    assert all(word in err for word in words) and "Signals" not in err, (words, err)


class Server:
    """Counts the connections, and closes each at once."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.count = self.socket.getsockname()[1], 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def serve(self):
        while True:
            try:
                peer = self.socket.accept()[0]
            except OSError:
                return
            self.count += 1
            peer.close()

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob("*")}


def check_only_a_container_is_replaced_or_deleted(folder):
    victims = folder / "victims"
    victims.mkdir()
    (victims / "text").write_text("alias ll='ls -l'\n")
    (victims / "short").write_bytes(b"\x89HD")
    env = {k: v for k, v in os.environ.items() if k != "HDF5_VOL_CONNECTOR"}
    native = f"import h5py\nwith h5py.File({str(victims / 'native.h5')!r}, 'w') as f: f['x'] = 1"
    subprocess.run([sys.executable, "-c", native], env=env, check=True)
    works(WRITE.replace("p.h5", f"{victims}/local.h5"))
    pointer(victims / "pointer", "file:///nowhere", "x")
    before = snapshot(victims)
    for key in [p.name for p in victims.iterdir() if p.is_file()]:
        # Through a pointer file, and by a URL too.
        pointer("p.h5", f"file://{victims}", key)
        refused(WRITE, "not an h5lake container" if key != "local.h5" else "local")
        refused(WRITE.replace("p.h5", f"file://{victims}/{key}"), "OSError")
        refused(DELETE, "AssertionError")
        after = {k: v for k, v in snapshot(victims).items() if ".object-store" not in str(k)}
        assert after == before, key
    # An empty object has no data that could be lost.
    (victims / "empty").touch()
    pointer("p.h5", f"file://{victims}", "empty")
    works(WRITE)


def check_a_pointer_is_its_owners(folder):
    if os.geteuid() != 0:
        return
    store = f"file://{folder}/objects"
    works(WRITE, f"h5lake store={store}")
    works(WRITE)
    os.chown("p.h5", STRANGER, STRANGER)
    before = snapshot(folder / "objects")
    for code in (WRITE, CHANGE, DELETE):
        refused(code, *(() if code == DELETE else ("only its owner", "h5lake link")))
        refused(code, connector=f"h5lake links=any store=file://{folder}/other") if code != WRITE else None
    assert snapshot(folder / "objects") == before
    assert works(READ) == "[1, 2, 3]", "to read a local container is no harm"
    for connector in (f"h5lake store={store}", f"h5lake store=file://{folder}"):
        works(CHANGE, connector)
    works(WRITE, f"h5lake store={store}")
    os.chown("p.h5", STRANGER, STRANGER)
    works(DELETE, f"h5lake store={store}")
    assert not Path("p.h5").exists()


def check_to_read_makes_nothing(folder):
    pointer("p.h5", f"file://{folder}/new/folder", "k")
    before = snapshot(folder)
    refused(READ, "no such container")
    refused(CHANGE, "no such container")
    refused(READ.replace("p.h5", f"file://{folder}/new/k"), "no such container")
    assert snapshot(folder) == before


def check_a_strangers_pointer_reaches_no_host(folder):
    if os.geteuid() != 0:
        return
    with Server() as server:
        http = f"http://127.0.0.1:{server.port}"
        keys = dict(AWS_ENDPOINT_URL=http, AWS_ALLOW_HTTP="true", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
        pointer("p.h5", "s3://bucket/prefix", "k", STRANGER)
        refused(READ, "another user", "links=any", **keys)
        refused(READ, "links=local", connector="h5lake links=local", **keys)
        assert server.count == 0
        for connector in ("h5lake links=any", "h5lake store=s3://bucket/prefix", "h5lake store=s3://bucket"):
            count = server.count
            refused(READ, connector=connector, **keys)
            assert server.count > count, connector
        # The user's own pointer file leads to the service of the environment variables.
        pointer("p.h5", "s3://bucket/prefix", "k")
        count = server.count
        refused(READ, **keys)
        assert server.count > count
        # AWS_ALLOW_HTTP applies only to the service of those variables.
        pointer("p.h5", http, "k")
        count = server.count
        for connector in ("h5lake", "h5lake links=any"):
            refused(READ, "without encryption", connector=connector, AWS_ALLOW_HTTP="true",
                    AWS_ENDPOINT_URL="http://127.0.0.1:9")
        assert server.count == count
        refused(READ, AWS_ALLOW_HTTP="true", HTTP_ALLOW_HTTP="true")
        assert server.count > count


def check_links_and_virtual_sources_reach_no_host(folder):
    with Server() as server:
        http = f"http://127.0.0.1:{server.port}"
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource(f"{http}/d/x.h5", "x", (3,))
        with h5py.File("p.h5", "w") as f:
            f["link"] = h5py.ExternalLink(f"{http}/d/x.h5", "/x")
            f["s3"] = h5py.ExternalLink("s3://bucket/x.h5", "/x")
            f.create_virtual_dataset("x", layout)
        follow = "import h5py\nh5py.File('p.h5')['{}'][()]"
        keys = dict(AWS_ALLOW_HTTP="true", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
        for name in ("link", "x"):
            refused(follow.format(name), "leads to the network", "links=any", **keys)
            refused(follow.format(name), "without encryption", connector="h5lake links=any", **keys)
        refused(follow.format("s3"), "leads to the network", "links=any", **keys, AWS_ENDPOINT_URL=http)
        assert server.count == 0
        # The request is sent if the settings name that very service, or allow any service.
        for name, connector, more in (("link", "h5lake links=any", dict(AWS_ENDPOINT_URL=http)),
                                      ("link", "h5lake links=any", dict(HTTP_ALLOW_HTTP="true")),
                                      ("s3", "h5lake links=any", dict(AWS_ENDPOINT_URL=http))):
            count = server.count
            run(follow.format(name), connector, **keys, **more)
            assert server.count > count, (name, connector)
        # The last part of a network name is still looked up beside the file.
        with h5py.File("x.h5", "w") as f:
            f["x"] = [4, 5, 6]
        count = server.count
        for name in ("link", "x"):
            assert works(f"import h5py\nprint(h5py.File('p.h5')['{name}'][:].tolist())") == "[4, 5, 6]"
        assert server.count == count


def check_local_names_are_followed_as_ever(folder):
    with h5py.File("target.h5", "w") as f:
        f["x"] = [1, 2, 3]
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(f"{folder}/target.h5", "x", (3,))
    with h5py.File("p.h5", "w") as f:
        f["link"] = h5py.ExternalLink("target.h5", "/x")
        f.create_virtual_dataset("x", layout)
    for connector in ("h5lake", "h5lake links=local"):
        assert works(f"{READ}\nprint(h5py.File('p.h5')['link'][1])", connector) == "[1, 2, 3]\n2"


main(globals())
