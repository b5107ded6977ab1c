"""URLs of virtual chunks: Icechunk expects encoded URLs, and references have plain paths and keys after their
scheme."""

import os
from datetime import datetime, timezone
from urllib.parse import quote

#: Characters without a meaning of their own in the path of a URL. Icechunk decodes all other characters once, to the
#: path or key that it reads.
PLAIN = "/:@!$&'()*+,;="


def encoded(url):
    """Returns the URL with which Icechunk reads the path or key of a reference's URL."""
    scheme, _, rest = url.partition("://")
    parts = rest.lstrip("/").split("/")
    if {".", ".."} & set(parts) or scheme != "file" and "" in parts:
        raise ValueError(f"{url}: Icechunk takes dots and empty parts out of a URL; publish it under another one (--url)")
    return f"{scheme}://{quote(rest, safe=PLAIN)}"


def container(icechunk, url):
    """Returns the virtual chunk container for the URL of a file or object, and the permission to read it. Its prefix is
    plain, because readers compare it with a decoded URL."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        folder = os.path.dirname(rest).rstrip("/") + "/"
        return icechunk.VirtualChunkContainer(f"file://{folder}", icechunk.local_filesystem_store(folder)), None
    if scheme == "s3":
        bucket = rest.split("/")[0]
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        store = icechunk.s3_store(region=region, endpoint_url=endpoint, s3_compatible=bool(endpoint), force_path_style=bool(endpoint),
                                  allow_http=bool(endpoint and endpoint.startswith("http://")))
        return icechunk.VirtualChunkContainer(f"s3://{bucket}/", store), icechunk.s3_credentials(from_env=True)
    raise ValueError(f"Icechunk's virtual chunks cannot be at {scheme}://; files and S3 can")


def checksum(known):
    """Returns the value by which Icechunk detects that an object was replaced: its etag, or the time of its last
    change."""
    if known.get("etag"):
        return {"etag_checksum": known["etag"]}
    return {"last_updated_at_checksum": datetime.fromtimestamp(known["modified"], timezone.utc)} if known else {}


def check(chunks, read):
    """Checks that Icechunk reads the expected bytes from files: one chunk of each folder, the shortest. `chunks` are
    keys, URLs, offsets and lengths, `read` reads a key. Files on other machines, and other objects, are not checked."""
    shortest = {}
    for key, url, offset, length in chunks:
        scheme, _, path = url.partition("://")
        folder = os.path.dirname(path)
        if scheme == "file" and (folder not in shortest or length < shortest[folder][3]):
            shortest[folder] = (key, path, offset, length)
    for key, path, offset, length in shortest.values():
        if not os.path.isfile(path):
            continue
        wanted, found = _bytes_at(path, offset, length), read(key)
        # The bytes after a short chunk may change meanwhile.
        if found != wanted == _bytes_at(path, offset, length):
            raise ValueError(f"{path}: Icechunk reads other bytes than the file has; give the file or its folder another name")


def _bytes_at(path, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)
