"""Check who sends a request and in what form, before its body is read: CSRF (cross-site request forgery) and JSON.

Called by every route that takes a body.
"""

from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from services.edge.http.origins import is_allowed

CODING_CHARS_MAX = 100
IDENTITY = "identity"
"""The coding of a body that has none."""
FOREIGN_SITES = ("cross-site", "same-site")


def check_sender(request: Request[Any, Any, Any], origins: tuple[str, ...]) -> None:
    """Refuse a request that a foreign web page can have made behind its user's back, or that is not plain JSON.

    `origins` are the foreign origins that are allowed. Raises `HTTPException`: 403 for the first, 415 for the second.
    """
    is_foreign = request.headers.get("sec-fetch-site") in FOREIGN_SITES
    if is_foreign and not is_allowed(request.headers.get("origin", ""), origins):
        raise HTTPException(status_code=403, detail="requests from other sites are not taken")
    kind, parameters = request.content_type
    if kind != "application/json" or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise HTTPException(status_code=415, detail="the content type must be application/json, in UTF-8")
    coding = request.headers.get("content-encoding", IDENTITY).strip().lower()
    if coding not in ("", IDENTITY):
        detail = f"a body with Content-Encoding {coding[:CODING_CHARS_MAX]} is not taken; send it as it is"
        raise HTTPException(status_code=415, detail=detail, headers={"Accept-Encoding": IDENTITY})
