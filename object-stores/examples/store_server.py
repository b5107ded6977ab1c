#!/usr/bin/env python3
"""A store server for h5lake (docs/store-protocol.md) that stores objects in a file of SQLite. Uses only the standard library.

    store_server.py FILE --port 8700         h5store+http://127.0.0.1:8700/PREFIX
    store_server.py FILE --socket X.sock     h5store+unix:///DIR/X.sock/PREFIX

It serves this machine only. Transactions of SQLite make each request atomic, also among several such servers."""

import argparse
import contextlib
import itertools
import json
import operator
import os
import re
import socket
import sqlite3
import struct
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TABLES = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, version INTEGER, modified INTEGER, bytes BLOB);
    CREATE TABLE IF NOT EXISTS parts (upload TEXT, offset INTEGER, begun INTEGER, bytes BLOB, UNIQUE (upload, offset));
    CREATE TABLE IF NOT EXISTS versions (last INTEGER);
    INSERT INTO versions SELECT 0 WHERE NOT EXISTS (SELECT * FROM versions);"""
DESCRIPTION = {"protocol": "h5store", "versions": [1], "capabilities": ["atomic-create", "atomic-update", "filter"]}
MAX_BODY = 256 << 20
MAX_MATCHES = 1 << 18
FORMATS = dict(i1="b", i2="h", i4="i", i8="q", u1="B", u2="H", u4="I", u8="Q", f2="e", f4="f", f8="d")
TESTS = {name: getattr(operator, name) for name in ("lt", "le", "eq", "ne", "ge", "gt")}
DAY = 86400


class Refused(Exception):
    """An answer that reports a failure: its status, and a sentence."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    local = threading.local()
    writing = threading.Lock()  # within this process writers queue for the lock instead of polling SQLite

    def database(self):
        """Returns this thread's connection. Its transactions wait for each other, and are begun and ended explicitly."""
        if not hasattr(self.local, "database"):
            self.local.database = sqlite3.connect(self.server.file, timeout=60, isolation_level=None)
            # A commit survives the death of this process, and with FULL a power loss too.
            self.local.database.execute("PRAGMA synchronous = NORMAL")
        return self.local.database

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            why = {"error": f"a body says its length, which is at most {MAX_BODY} bytes"}
            return self.answer(413, json.dumps(why).encode())
        body = self.rfile.read(length)
        if len(body) < length:
            # The client has closed the connection in the middle of the body, so nothing is stored.
            self.close_connection = True
            return self.answer(400, b'{"error": "the body is shorter than it says"}')
        path = unquote(url.path)
        try:
            if path == "/v1":
                return self.answer(200, json.dumps(DESCRIPTION).encode(), Content_Type="application/json")
            if path == "/v1/objects" and self.command == "GET":
                return self.list()
            found = re.fullmatch(r"/v1/(objects|uploads|filter)/(.+)", path, re.S)
            act = getattr(self, f"{self.command.lower()}_{found[1]}", None) if found else None
            if act is None:
                raise Refused(501, f"{self.command} {path} is no request of the protocol")
            with self.writing if self.command in ("PUT", "DELETE") else contextlib.nullcontext():
                return act(found[2], body)
        except Refused as why:
            status, text = why.args
            return self.answer(status, json.dumps({"error": text}).encode())
        except sqlite3.Error as error:
            return self.answer(507 if "full" in str(error) else 503, json.dumps({"error": str(error)}).encode())

    do_GET = do_HEAD = do_PUT = do_DELETE = handle_request

    def get_objects(self, key, _):
        row = self.database().execute("SELECT version, modified, bytes FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise Refused(404, "no such object")
        version, modified, content = row
        about = {"ETag": f'"{version}"', "Last_Modified": formatdate(modified, usegmt=True)}
        if self.headers.get("If-None-Match") == about["ETag"]:
            return self.answer(304, **about)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted or self.command == "HEAD":
            return self.answer(200, content, **about)
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if first > last:
            raise Refused(416, f"the object has {len(content)} bytes")
        about["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
        return self.answer(206, content[first:last + 1], **about)

    head_objects = get_objects

    def get_filter(self, key, _):
        """Answers with the elements of an object, or of a range, for which all comparisons are true."""
        row = self.database().execute("SELECT version, bytes FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise Refused(404, "no such object")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(wanted[1]), wanted[2]) if wanted else (0, "")
        content = row[1][first:int(last) + 1 if last else None]
        try:
            element = {"little": "<", "big": ">"}[self.query.get("order", "little")] + FORMATS[self.query["type"]]
            number = float if self.query["type"][0] == "f" else int
            tests = [test.split(":") for test in self.query["where"].split(",")]
            tests = [(TESTS[name], number(text)) for name, text in tests]
            skip, limit = int(self.query.get("skip", 0)), min(int(self.query.get("limit", MAX_MATCHES)), MAX_MATCHES)
            values = struct.iter_unpack(element, content)
        except (KeyError, ValueError, struct.error) as error:
            raise Refused(400, f"no filter of this object: {error!r}") from error
        if first > len(row[1]):
            raise Refused(416, f"the object has {len(row[1])} bytes")
        true = (i for i, (value,) in enumerate(values) if i >= skip and all(test(value, than) for test, than in tests))
        found = list(itertools.islice(true, limit))
        size, elements = struct.calcsize(element), len(content) // struct.calcsize(element)
        about = {"ETag": f'"{row[0]}"', "H5store_Elements": str(elements), "H5store_Matches": str(len(found))}
        if len(found) == limit and found[-1] + 1 < elements:
            about["H5store_Next"] = str(found[-1] + 1)
        body = struct.pack(f"<{len(found)}Q", *found) + b"".join(content[i * size:(i + 1) * size] for i in found)
        self.answer(200, body, Content_Type="application/octet-stream", **about)

    def put_objects(self, key, body):
        database = self.database()
        database.execute("BEGIN IMMEDIATE")
        try:
            there = database.execute("SELECT version FROM objects WHERE key = ?", (key,)).fetchone()
            expected = self.headers.get("If-Match")
            if self.headers.get("If-None-Match") == "*" and there:
                raise Refused(412, "there is such an object")
            if expected is not None and (not there or expected != f'"{there[0]}"'):
                raise Refused(412, "there is another version, or none")
            if "upload" in self.query:
                body = self.uploaded(self.query["upload"])
                if len(body) != int(self.query["length"]):
                    raise Refused(404, f"the upload has {len(body)} bytes")
                # Parts of abandoned uploads are deleted together with its own parts.
                database.execute("DELETE FROM parts WHERE upload = ? OR begun < ?",
                                 (self.query["upload"], time.time() - DAY))
            database.execute("UPDATE versions SET last = last + 1")
            version = database.execute("SELECT last FROM versions").fetchone()[0]
            row = (key, version, int(time.time()), body)
            database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)
            database.execute("COMMIT")
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")
        self.answer(200, ETag=f'"{version}"')

    def delete_objects(self, key, _):
        self.database().execute("DELETE FROM objects WHERE key = ?", (key,))
        self.answer(204)

    def uploaded(self, upload):
        parts = self.database().execute("SELECT bytes FROM parts WHERE upload = ? ORDER BY offset", (upload,))
        return b"".join(part for part, in parts)

    def put_uploads(self, upload, body):
        part = (upload, int(self.query["offset"]), int(time.time()), body)
        self.database().execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", part)
        self.answer(204)

    def delete_uploads(self, upload, _):
        self.database().execute("DELETE FROM parts WHERE upload = ?", (upload,))
        self.answer(204)

    def list(self):
        prefix, after = self.query.get("prefix", ""), self.query.get("after", "")
        limit = min(int(self.query.get("limit", 1000)), 1000)
        # SQLite orders text by its bytes in UTF-8.
        rows = self.database().execute(
            "SELECT key, version, modified, length(bytes) FROM objects"
            " WHERE key >= ? AND key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
            (prefix, after, len(prefix), prefix, limit + 1)).fetchall()
        objects = [{"key": key, "size": size, "modified": modified, "etag": f'"{version}"'}
                   for key, version, modified, size in rows[:limit]]
        body = json.dumps({"objects": objects, "more": len(rows) > limit}).encode()
        self.answer(200, body, Content_Type="application/json")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def server_bind(self):
        """Binds without looking up the host's name, which a socket in a folder does not have."""
        if self.address_family == socket.AF_INET:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif os.path.exists(self.server_address):
            os.unlink(self.server_address)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", 0

    def handle_error(self, request, address):
        """Reports no error if the client has closed the connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)

    def get_request(self):
        connection, address = super().get_request()
        if self.address_family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address or ("local", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int)
    where.add_argument("--socket")
    args = parser.parse_args()
    sqlite3.connect(args.file).executescript(TABLES)
    Server.address_family = socket.AF_UNIX if args.socket else socket.AF_INET
    server = Server(args.socket or ("127.0.0.1", args.port), Handler)
    server.file = args.file
    print(server.server_address if args.socket else server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
