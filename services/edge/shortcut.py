"""Answer what clients ask for most ahead of Litestar's routes, as `routes` does and in half of the time.

That is the status of a job by GET, and a small part of a video, as players ask for when they seek. `app` wraps the
routes in it. A path or a range that is spelled in another way, a status to wait for, and every other request, goes to
the routes.
"""

import re
from collections.abc import Callable

import msgspec
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from contracts.process import log
from contracts.stores.store import CHUNK_BYTES
from services.edge.answers import answer_to
from services.edge.context import Edge
from services.edge.routes import piece_of_video

STATUS, VIDEO = "/video/status/{job_id}", "/videos/{name}"
"""The templates that `routes` has for the same, as Litestar writes them into the log."""
_STATUS = re.compile(r"/video/status/([0-9a-f]{32})")
_VIDEO = re.compile(r"/videos/([0-9a-f]{32})\.mp4")
_PART = re.compile(rb"bytes=([0-9]{1,15})-([0-9]{1,15})")
_PLAIN_HOST = re.compile(rb"[0-9A-Za-z.:\[\]-]*")
"""Hosts that Litestar takes too; it judges all others."""
_CONDITIONS = (b"if-none-match", b"if-range")
_encode = msgspec.json.Encoder().encode


def with_shortcut(edge: Callable[[], Edge], inner: ASGIApp) -> ASGIApp:
    """Return the app with the shortcut. `edge` returns the parts that the routes work with."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not _has_plain_host(scope):
            await inner(scope, receive, send)
        elif (status := _STATUS.fullmatch(scope["path"])) is not None and not scope["query_string"]:
            scope["path_template"] = STATUS
            await _answer_status(edge(), status[1], scope, send)
        elif (video := _VIDEO.fullmatch(scope["path"])) and (part := _small_part(scope)) is not None:
            scope["path_template"] = VIDEO
            await _answer_part(edge(), video[1], part, scope, send)
        else:
            await inner(scope, receive, send)

    return outer


def _has_plain_host(scope: HTTPScope) -> bool:
    return all(name != b"host" or _PLAIN_HOST.fullmatch(value) is not None for name, value in scope["headers"])


def _small_part(scope: HTTPScope) -> range | None:
    """Return the bytes of an unconditional request for up to `CHUNK_BYTES`; None for any other request."""
    asked = None
    for name, value in scope["headers"]:
        if name in _CONDITIONS:
            return None
        if name == b"range":
            asked = _PART.fullmatch(value)
    if asked is None or not 0 <= int(asked[2]) - int(asked[1]) < CHUNK_BYTES:
        return None
    return range(int(asked[1]), int(asked[2]) + 1)


async def _answer_status(edge: Edge, job_id: str, scope: Scope, send: Send) -> None:
    """Answer with the status of a job, or with what the exception means that tells why not."""
    log.bind(job_id=job_id)
    try:
        status = await edge.jobs.status(job_id)
    except Exception as error:  # noqa: BLE001  # every exception has its answer
        await _refuse(scope, send, error)
    else:
        await _send(send, 200, "application/json", _encode(status), {})


async def _answer_part(edge: Edge, job_id: str, part: range, scope: Scope, send: Send) -> None:
    """Answer with a part of a job's video, or with what the exception means that tells why not."""
    try:
        headers, body = await piece_of_video(edge, job_id, part)
    except Exception as error:  # noqa: BLE001  # every exception has its answer
        await _refuse(scope, send, error)
    else:
        await _send(send, 206, "video/mp4", body, headers)


async def _refuse(scope: Scope, send: Send, error: Exception) -> None:
    """Answer with what an exception means."""
    answer = answer_to(scope, error)
    await _send(send, answer.status_code or 500, "application/json", _encode(answer.content), answer.headers)


async def _send(send: Send, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
    """Send an answer whose body has this content type."""
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    plain = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*named, *plain]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
