"""A small HTTP client for servers on this machine: the edge and the broker's monitor.

The demo, the wait for a ready stack and the broker's liveness check ask through it. It uses no proxy. Over
TLS it trusts the edge's own certificate alone.
"""

import urllib.request
from urllib.error import HTTPError

from ops.local import own_tls

ANSWER_WITHIN_S = 10.0
BODY_BYTES_MAX = 4 * 1024 * 1024


def ask(url: str, body: bytes | None = None, *, host: str | None = None) -> tuple[int, bytes]:
    """Return status and body of the answer, whatever the status.

    With a `body` the request is a POST of JSON, else a GET. `host` replaces the URL's host in the `Host` header. At
    most `BODY_BYTES_MAX` of the answer are read. Redirects are followed. Raises `OSError` if no server answers within
    `ANSWER_WITHIN_S`, and `http.client.HTTPException` if the answer is not HTTP.
    """
    tls = [urllib.request.HTTPSHandler(context=own_tls.context())] if url.startswith("https:") else []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *tls)
    headers = {"Content-Type": "application/json", **({} if host is None else {"Host": host})}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  # callers give addresses of HTTP only
    try:
        with opener.open(request, timeout=ANSWER_WITHIN_S) as answer:
            return answer.status, answer.read(BODY_BYTES_MAX)
    except HTTPError as error:
        with error:
            return error.code, error.read(BODY_BYTES_MAX)
