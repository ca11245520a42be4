"""The routes of the documentation: the OpenAPI document, and a page on which to read and try the API.

The page loads nothing from other hosts. `files/` holds swagger-ui-dist 5.35.0 from npm, unchanged, under its licence,
and our page and script around it.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, Response, Router, get

from services.edge.errors import NotFound

# Scripts and styles are files of ours alone; the pictures of Swagger's style sheet are in it, as data: URIs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {
    "index.html": "text/html",  # Litestar adds the charset to every kind of text
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

    def answer(self, request: _Request) -> Response[Any]:
        """Return the file, or 304 if the client has it already."""
        headers = {
            "ETag": self.etag,
            "Cache-Control": "no-cache",  # cached, and revalidated each time, so that an upgrade shows at once
            "Content-Security-Policy": POLICY,
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
def _document() -> _File:
    """Return the OpenAPI document, made at the first request for it: a start would take a tenth longer."""
    from services.edge.docs.openapi import document  # noqa: PLC0415

    return _file("application/json", msgspec.json.encode(document()))


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
    return _document().answer(request)


@get("/docs/{name:str}")
async def shipped(request: _Request, name: str) -> Response[Any]:
    """Answer with a file that the page is made of. Raises `NotFound` for any other name."""
    if name not in KINDS:
        raise NotFound("no such page")
    return _shipped(name).answer(request)


DOCS = Router("/", route_handlers=[welcome, page, openapi, shipped])
