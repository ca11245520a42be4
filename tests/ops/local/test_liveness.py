"""A process that has been unwell for too long is ended, and only then."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.waiting import eventually

SERVER = """
import http.server, pathlib, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pathlib.Path("asked").touch()
        self.send_response(200 if pathlib.Path("well").exists() else 503)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Generator[Process, None, None]:
    """Yield a server that answers 200 while a file `well` exists."""
    port = free_port()
    (tmp_path / "server.py").write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{SERVER}")
    command = [sys.executable, str(tmp_path / "server.py"), str(port)]
    arguments = ["-m", "ops.local.liveness", f"http://127.0.0.1:{port}", *command]
    process = Process(arguments, tmp_path / "log", UNWELL_MAX="0.5")
    yield process
    if process.alive:
        process.kill()


async def test_who_was_well_and_is_so_no_more_is_ended(server: Process, tmp_path: Path) -> None:
    (tmp_path / "well").touch()
    server.start()
    await eventually((tmp_path / "asked").exists)
    (tmp_path / "well").unlink()
    await eventually(lambda: not server.alive)
    assert [line["event"] for line in server.lines] == ["unwell_for_too_long"]


async def test_who_is_not_well_yet_is_let_be_and_a_stop_is_passed_on(server: Process, tmp_path: Path) -> None:
    server.start()
    for _ in range(3):
        (tmp_path / "asked").unlink(missing_ok=True)
        await eventually((tmp_path / "asked").exists)
    assert server.alive
    assert server.stop() != 0
    assert server.lines == []
