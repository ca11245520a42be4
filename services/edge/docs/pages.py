"""The routes of the documentation: OpenAPI and AsyncAPI documents, and for people a page of each.

The pages load nothing from other hosts. `files/` holds swagger-ui-dist 5.35.0 from npm, unchanged, under its licence,
our page and script around it, and the style sheet of the page of events.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, Response, Router, get

from services.edge.context import edge_of
from services.edge.errors import NotFound

# Scripts and styles are files of ours alone; the pictures of Swagger's style sheet are in it, as data: URIs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {
    "index.html": "text/html",  # Litestar adds the charset to every kind of text
    "events.css": "text/css",
    "page.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}

_Request = Request[Any, Any, Any]


@dataclass(frozen=True)
class _File:
    """A file that is served from memory, from its first request on for the life of the process.

    Its ETag is computed once: to hash a megabyte for each request would let clients use up the CPU.
    """

    kind: str
    content: bytes
    etag: str

    def answer(self, request: _Request, **more: str) -> Response[Any]:
        """Return the file, or 304 if the client has it already. `more` are further headers."""
        headers = {
            "ETag": self.etag,
            "Cache-Control": "no-cache",  # cached, and revalidated each time, so that an upgrade shows at once
            "Content-Security-Policy": POLICY,
            **more,
        }
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(None, status_code=304, headers=headers)
        return Response(self.content, media_type=self.kind, headers=headers)


def _file(kind: str, content: bytes) -> _File:
    return _File(kind, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@cache
def _shipped(name: str) -> _File:
    """Return a file of `KINDS` in `files/`. Raises `FileNotFoundError`."""
    return _file(KINDS[name], files("services.edge.docs").joinpath("files", name).read_bytes())


@cache
def _document(needs_key: bool) -> _File:  # a setting of the whole edge
    """Return the OpenAPI document, made at the first request for it: a start would take a tenth longer."""
    from services.edge.docs.openapi import document  # noqa: PLC0415

    return _file("application/json", msgspec.json.encode(document(needs_key=needs_key)))


@cache
def _events() -> _File:
    """Return the AsyncAPI document as it lies in the repository; `ops.catalogue` makes it."""
    return _file("application/json", files("contracts").joinpath("events.asyncapi.json").read_bytes())


@cache
def _events_page() -> _File:
    """Return the page of that document, made at the first request for it."""
    from services.edge.docs.event_page import page_of  # noqa: PLC0415

    return _file("text/html", page_of(msgspec.json.decode(_events().content)))


@get("/docs")
async def page(request: _Request) -> Response[Any]:
    """Answer with the page."""
    return _shipped("index.html").answer(request)


@get("/", status_code=307)
async def welcome() -> Response[bytes]:
    """Redirect the root to the page."""
    return Response(b"", status_code=307, headers={"Location": "/docs"})


@get(["/openapi.json", "/docs/openapi.json"])
async def openapi(request: _Request) -> Response[Any]:
    """Answer with the OpenAPI document."""
    return _document(edge_of(request).keys is not None).answer(request)


@get("/docs/events")
async def events(request: _Request) -> Response[Any]:
    """Answer with the events on the broker: a page for whoever prefers HTML, and for all others as AsyncAPI."""
    wanted = request.accept.best_match(["application/json", "text/html"])
    file = _events_page() if wanted == "text/html" else _events()
    return file.answer(request, Vary="Accept")


@get("/docs/events.json")
async def event_document(request: _Request) -> Response[Any]:
    """Answer with the AsyncAPI document of the events on the broker, whatever is accepted."""
    return _events().answer(request)


@get("/docs/{name:str}")
async def shipped(request: _Request, name: str) -> Response[Any]:
    """Answer with a file that the page is made of. Raises `NotFound` for any other name."""
    if name not in KINDS:
        raise NotFound("no such page")
    return _shipped(name).answer(request)


DOCS = Router("/", route_handlers=[welcome, page, openapi, events, event_document, shipped])
