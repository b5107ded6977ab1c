"""`h5lake browse`: H5Web's viewer in a web browser, with a menu of the versions of the container.

The server listens on loopback. Each request for data must contain the token of the address that is printed, and only the container
and its versions are readable. h5grove reads them with h5py."""

import os
import secrets
import signal
import sys
import webbrowser
from pathlib import Path

from ._errors import ToolError, line
from ._names import without_version
from ._plugin import checkout
from ._tool import versions

#: The maximum number of versions in the menu.
MAX_VERSIONS = 1000
FILES = ("index.html", "viewer.css", "viewer.js")
# The page sends nothing to other servers. H5Web's library for arrays makes functions of text.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
                               "worker-src 'self' blob:; frame-ancestors 'none'",
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
}


def viewer_folder() -> Path:
    """Returns the folder of the viewer's page. Raises ToolError if this installation has none."""
    places = [Path(__file__).parent / "viewer", *(Path(root) / "target" / "viewer" for root in checkout())]
    for place in places:
        if all((place / name).is_file() for name in FILES):
            return place
    raise ToolError("the viewer is not installed; in a checkout, 'tools/viewer' builds it, for which it needs npm")


def known_versions(name: str) -> "list[dict]":
    """Returns the versions of a container for the menu, newest first; an empty list for a file without versions."""
    base = without_version(name)
    try:
        found = versions(base, most=MAX_VERSIONS)
    except ToolError:
        return []
    return [{"number": one.number, "time": one.time, "message": one.message, "tags": one.tags, "file": f"{base}@v={one.number}"} for one in found]


def application(name: str, token: str):
    """Returns the WSGI application that shows a container."""
    from flask import Flask, abort, request, send_from_directory
    from h5grove.flask_utils import BLUEPRINT
    from werkzeug.exceptions import HTTPException

    app, folder = Flask("h5lake", static_folder=None), viewer_folder()
    # h5grove joins this folder and the name, which may be a URL.
    app.config["H5_BASE_DIR"] = ""

    @app.before_request
    def check():
        if request.path.lstrip("/") in ("", *FILES):
            return
        given = request.headers.get("Authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
            abort(401, "the address has no valid token; open the address that 'h5lake browse' has printed")
        file = request.args.get("file", name)
        if file != name and without_version(file) != without_version(name):
            abort(403, "only the container for which 'h5lake browse' was started is shown")

    @app.after_request
    def protect(response):
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(Exception)
    def failed(error):
        if isinstance(error, HTTPException):
            return error.response or (error.description, error.code)
        return {"message": line(error)}, 500

    app.add_url_rule("/", "page", lambda: send_from_directory(folder, "index.html"))
    app.add_url_rule("/<any(" + ",".join(repr(file) for file in FILES) + "):file>", "file", lambda file: send_from_directory(folder, file))
    app.add_url_rule("/versions", "versions", lambda: {"file": name, "versions": known_versions(name)})
    app.register_blueprint(BLUEPRINT, url_prefix="/h5grove")
    return app


def main(arguments: "list[str]") -> int:
    """Serves NAME on PORT, or on a free port for 0, until SIGINT or SIGTERM. Shows the address, in a browser too if SHOW is "yes"."""
    name, port, show = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        import h5py
        from werkzeug.serving import WSGIRequestHandler, make_server

        token = secrets.token_urlsafe(24)
        app = application(name, token)
        h5py.File(name, "r").close()
        WSGIRequestHandler.log_request = lambda *_: None
        server = make_server("127.0.0.1", int(port), app, threaded=True)
    except ImportError as error:
        print(f"h5lake: browse needs h5py and h5grove with Flask ({error}): pip install 'h5grove[flask]'", file=sys.stderr)
        return 1
    except Exception as error:  # The tool reports any error in one line.
        print(f"h5lake: {line(error)}", file=sys.stderr)
        return 1
    address = f"http://127.0.0.1:{server.server_port}/?token={token}"
    print(f"{os.fspath(name)}: {address}\nPress Ctrl-C to end.", flush=True)
    if show == "yes":
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0
