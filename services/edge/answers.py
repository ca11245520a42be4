"""Answer exceptions: in Litestar by `HANDLERS`, and outside of it. The metrics are told what was refused."""

from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.types import Scope

from services.edge.error_handlers import ANSWERS
from services.edge.http.middleware import note_refusal

_Request = Request[Any, Any, Any]
_Response = Response[Any]


def _noted(handle: Callable[[Any, Any], _Response]) -> Callable[[_Request, Any], _Response]:
    """Return the handler, which then notes the `error` of its answer for the metrics."""

    def noting(request: _Request, error: Any) -> _Response:
        answer = handle(request, error)
        note_refusal(request.scope, answer.content.error)
        return answer

    return noting


HANDLERS: dict[type[Exception] | int, Any] = {kind: _noted(handle) for kind, handle in ANSWERS.items()}


def answer_to(scope: Scope, error: Exception) -> _Response:
    """Return the answer to an exception, as Litestar would, to a request outside Litestar's routes."""
    kind = next(kind for kind in type(error).__mro__ if kind in ANSWERS)
    answer = ANSWERS[kind](None, error)
    note_refusal(scope, answer.content.error)
    return answer


def refusal(error: Exception) -> tuple[int, Any, dict[str, str]]:
    """Return status, body and headers of the answer to an exception, where no request of HTTP was made."""
    kind = next(kind for kind in type(error).__mro__ if kind in ANSWERS)
    answer = ANSWERS[kind](None, error)
    return answer.status_code or 500, answer.content, answer.headers
