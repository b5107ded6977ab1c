"""Puts objects on the S3 server of the tests, without a client of h5lake."""

import hashlib
import hmac
import os
import time
import urllib.parse
import urllib.request


def put(url, data):
    """Puts an object, with a signature as S3 needs it."""
    endpoint, path = os.environ["AWS_ENDPOINT_URL"], "/" + url.removeprefix("s3://")
    at = time.gmtime()
    stamp, day = time.strftime("%Y%m%dT%H%M%SZ", at), time.strftime("%Y%m%d", at)
    region, digest = os.environ.get("AWS_REGION", "us-east-1"), hashlib.sha256(data).hexdigest()
    headers = {"host": urllib.parse.urlsplit(endpoint).netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names, lines = ";".join(sorted(headers)), "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    asked, scope = "\n".join(["PUT", path, "", lines, names, digest]), f"{day}/{region}/s3/aws4_request"
    key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(asked.encode()).hexdigest()])
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={names}, Signature={signature}")
    request = urllib.request.Request(endpoint + path, data, headers, method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()
