"""Answer requests below `/v1` that are refused in the form that their clients know. `app` wraps each handler in it."""

from collections.abc import Callable
from typing import Any

from litestar import Request, Response

from services.edge.video_errors import as_video_error, speaks_v1

_Request = Request[Any, Any, Any]
_Response = Response[Any]


def in_dialect(handler: Callable[[_Request, Any], _Response]) -> Callable[[_Request, Any], _Response]:
    """Return a handler of exceptions whose answers to requests below `/v1` have the form of that dialect."""

    def answer(request: _Request, error: Exception) -> _Response:
        ours = handler(request, error)
        if not speaks_v1(request.scope["path"]):
            return ours
        status, body, headers = as_video_error(ours.status_code or 500, ours.content)
        return Response(body, status_code=status, media_type="application/json", headers={**ours.headers, **headers})

    return answer
