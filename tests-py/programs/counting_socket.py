"""A socket in front of a store in another process, which counts the bytes that the store sends."""

import contextlib
import socket
import threading
from pathlib import Path


@contextlib.contextmanager
def counting(outer, inner):
    """Forwards connections from the socket `outer` to the socket `inner`. Yields a list with the number of returned
    bytes."""
    Path(outer).unlink(missing_ok=True)
    sent, listener = [0], socket.socket(socket.AF_UNIX)
    listener.bind(outer)
    listener.listen()

    def pump(source, target, counts):
        with contextlib.suppress(OSError):
            while part := source.recv(1 << 16):
                sent[0] += len(part) if counts else 0
                target.sendall(part)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(inner)
                for args in ((client, server, False), (server, client, True)):
                    threading.Thread(target=pump, args=args, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield sent
    finally:
        listener.close()
