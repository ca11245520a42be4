"""The hostile corpus, and a host on the internet of the tests that behaves as its cases say."""

import asyncio
import json
import re
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from tests.kit.machine import free_port

HOSTILE = Path(__file__).parent.parent.parent / "hostile"
PUBLIC = "127.0.0.2"
CANARIES = ("127.0.0.1", "::1")
PNG = (HOSTILE / "images" / "ok.webp").read_bytes()
_TEST_HOST = re.compile(r"(?<=http://)([a-z0-9]+\.test)(:80)?(?=[/?#]|$)")


class Case(msgspec.Struct, frozen=True, rename={"kind_class": "class"}):
    """One hostile submission of the corpus, and what is expected of the edge."""

    id: str
    kind: str
    kind_class: str
    expect: str
    input: Any = None
    file: str | None = None
    resolve: dict[str, list[Any]] | None = None

    @property
    def name(self) -> str:
        return f"{self.id}-{self.kind_class}"

    @property
    def url(self) -> str:
        if isinstance(self.input, str):
            return self.input
        before, char, count, after = self.input["repeat"]
        return before + char * count + after


def cases(kind: str) -> list[Case]:
    lines = (HOSTILE / "dev.jsonl").read_text().splitlines()
    return [case for line in lines if (case := msgspec.json.decode(line, type=Case)).kind == kind]


def at_port(url: str, port: int) -> str:
    """Return the URL with the port on which the test's internet serves HTTP."""
    if port == 80:
        return url
    return _TEST_HOST.sub(rf"\1:{port}", url)


class Names:
    """The name server's answers for one case; where they change, the last ones stay."""

    def __init__(self, case: Case) -> None:
        self._answers = {host: list(answers) for host, answers in (case.resolve or {}).items()}

    async def look_up(self, host: str) -> list[str]:
        answers = self._answers.get(host)
        if not answers:
            raise OSError("no such name")
        if isinstance(answers[0], str):
            return answers
        return answers.pop(0) if len(answers) > 1 else answers[0]


def _answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _script(path: str, port: int) -> list[bytes | None]:
    """Return the pieces that are sent for a path. None stands for silence until the client leaves."""
    if path.startswith("/redir?to="):
        return [_answer("302 Found", Location=at_port(unquote(path.removeprefix("/redir?to=")), port))]
    if path.startswith("/raw-redir?to="):  # the bytes as they are
        target = unquote_to_bytes(path.removeprefix("/raw-redir?to="))
        return [b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\nContent-Length: 0\r\n\r\n"]
    if path.startswith("/status/"):
        status = path.removeprefix("/status/")
        return [_answer(f"{status} So", b"" if status in ("204", "304") else PNG)]
    image = _answer("200 OK", PNG, Content_Type="image/png")
    bomb = (HOSTILE / "images" / "bomb_20000x20000.png").read_bytes()
    scripts: dict[str, list[bytes | None]] = {
        "/png-as-html": [_answer("200 OK", PNG, Content_Type="text/html")],
        "/setcookie": [_answer("200 OK", PNG, Set_Cookie="a=b")],
        "/loop": [_answer("302 Found", Location="/loop")],
        "/refresh": [_answer("200 OK", b"<html>", Refresh="0; url=http://127.0.0.1/")],
        "/404": [_answer("404 Not Found", PNG)],
        "/500": [_answer("500 Oops", PNG)],
        "/206": [_answer("206 Partial Content", PNG)],
        "/big-cl": [_answer("200 OK", PNG, Content_Length=str(10**10)), None],
        "/lie-short": [_answer("200 OK", PNG, Content_Length=str(len(PNG) + 100))],
        "/slow-head": [b"HTTP/1.1 200 OK\r\nX-A: ", None],
        "/slow-body": [_answer("200 OK", PNG[:10], Content_Length=str(len(PNG))), None],
        "/hang": [None],
        "/gzip-bomb": [_answer("200 OK", zlib.compress(bytes(10**7), wbits=31), Content_Encoding="gzip")],
        "/bad-status": [b"HTTP/1.1 banana\r\n\r\n"],
        "/html": [_answer("200 OK", b"<html></html>", Content_Type="image/png")],
        "/svg": [_answer("200 OK", b"<svg xmlns='http://www.w3.org/2000/svg'/>", Content_Type="image/svg+xml")],
        "/bomb": [_answer("200 OK", bomb)],
        "/switch": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", None],
        "/endless": [_answer("200 OK", bytes(10**6), Content_Length=str(10**9)), *[bytes(10**6)] * 40],
    }
    return scripts.get(path, [image])


class Internet:
    """Its port, and who reached an address that nobody may reach."""

    def __init__(self) -> None:
        self.port = 0
        self.reached: list[str] = []
        self.paths: list[str] = []
        self.heads: list[bytes] = []


def serve_case(web: Internet) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A server that does what each path of the corpus names."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            web.paths.append(path)
            web.heads.append(head)
            for part in _script(path, web.port):
                if part is None:
                    await reader.read()
                else:
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    return serve


@asynccontextmanager
async def internet() -> AsyncGenerator[Internet, None]:
    """A host on 127.0.0.2 and canaries, on the same port, on 127.0.0.1 and ::1; on port 80 too where that is free."""
    web = Internet()
    web.port = free_port(PUBLIC, *CANARIES)

    async def canary(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.reached.append(json.dumps(writer.get_extra_info("sockname")))
        writer.write(_answer("200 OK", PNG))
        writer.close()

    servers = [await asyncio.start_server(serve_case(web), PUBLIC, web.port)]
    for host in CANARIES:
        servers.append(await asyncio.start_server(canary, host, web.port))
        with suppress(OSError):  # not permitted, or taken by another run of these tests
            servers.append(await asyncio.start_server(canary, host, 80))
    try:
        yield web
    finally:
        for server in servers:
            server.close()
