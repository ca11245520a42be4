"""Check who sends a request and in what form, before its body is read: CSRF (cross-site request forgery) and JSON.

Called by every route that takes a body, and, for the sender alone, by those that hold a connection.
"""

import re
from collections.abc import Mapping
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from services.edge.http.origins import is_allowed

CODING_CHARS_MAX = 100
IDENTITY = "identity"
"""The coding of a body that has none."""
FOREIGN_SITES = ("cross-site", "same-site")
BOUNDARY_CHARS_MAX = 70  # RFC 2046, 5.1.1

_BOUNDARY = re.compile(rf"[!-~](?:[ -~]{{0,{BOUNDARY_CHARS_MAX - 2}}}[!-~])?")


def check_sender_and_form(request: Request[Any, Any, Any], origins: tuple[str, ...]) -> None:
    """Refuse a request that a foreign web page can have made behind its user's back, or that is not plain JSON.

    `origins` are the foreign origins that are allowed. Raises `HTTPException`: 403 for the first, 415 for the second.
    """
    check_sender(request.headers, origins)
    if not _is_json(request):
        raise HTTPException(status_code=415, detail="the content type must be application/json, in UTF-8")
    _check_coding(request)


def boundary_of_form(request: Request[Any, Any, Any], origins: tuple[str, ...]) -> str | None:
    """Return the boundary between the parts of a form; None for a request in JSON.

    Refuses a request as `check_sender` does, or if it is neither. Raises `HTTPException`: 403 or 415.
    """
    check_sender(request.headers, origins)
    kind, parameters = request.content_type
    boundary = parameters.get("boundary", "") if kind == "multipart/form-data" else None
    if boundary is None and not _is_json(request):
        detail = "the content type must be application/json, in UTF-8, or multipart/form-data"
        raise HTTPException(status_code=415, detail=detail)
    if boundary is not None and _BOUNDARY.fullmatch(boundary) is None:
        detail = f"multipart/form-data needs a boundary of 1 to {BOUNDARY_CHARS_MAX} printable characters"
        raise HTTPException(status_code=415, detail=detail)
    _check_coding(request)
    return boundary


def _is_json(request: Request[Any, Any, Any]) -> bool:
    """Return whether the request is announced as JSON in UTF-8."""
    kind, parameters = request.content_type
    return kind == "application/json" and parameters.get("charset", "utf-8").lower() in ("utf-8", "utf8")


def _check_coding(request: Request[Any, Any, Any]) -> None:
    """Refuse a body that is compressed. Raises `HTTPException` with the status 415."""
    coding = request.headers.get("content-encoding", IDENTITY).strip().lower()
    if coding not in ("", IDENTITY):
        detail = f"a body with Content-Encoding {coding[:CODING_CHARS_MAX]} is not taken; send it as it is"
        raise HTTPException(status_code=415, detail=detail, headers={"Accept-Encoding": IDENTITY})


def check_origin(headers: Mapping[str, str], origins: tuple[str, ...]) -> None:
    """Refuse a WebSocket that a page of another origin opens: browsers ask nobody. Raises 403 as `HTTPException`.

    Programs send no `Origin`. A page's own origin names the host that the request names.
    """
    origin = headers.get("origin")
    if origin is None or is_allowed(origin, origins):
        return
    if origin.lower().partition("://")[2] != headers.get("host", "").lower():
        raise HTTPException(status_code=403, detail="requests from other sites are not taken")


def check_sender(headers: Mapping[str, str], origins: tuple[str, ...]) -> None:
    """Refuse a request that a foreign web page can have made, by its headers. Raises as `check_sender_and_form`."""
    is_foreign = headers.get("sec-fetch-site") in FOREIGN_SITES
    if is_foreign and not is_allowed(headers.get("origin", ""), origins):
        raise HTTPException(status_code=403, detail="requests from other sites are not taken")
