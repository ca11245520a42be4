"""A stack's own edge is asked over TLS by its address, and nobody else is taken for it."""

import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ops.local.http import ask
from ops.local.stack import Stack
from tests.kit.certificates import Files, made


class Answering(BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Say nothing."""


def asked(files: Files) -> tuple[int, bytes]:
    """Return the answer of a server with this certificate, at an address that the certificate does not have."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    server = HTTPServer(("127.0.0.2", 0), Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = Thread(target=server.handle_request)
    serving.start()
    try:
        return ask(f"https://127.0.0.2:{server.server_port}/")
    finally:
        serving.join()
        server.server_close()


def test_the_own_edge_is_known_by_its_certificate_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path, made())
    monkeypatch.setenv("TLS_CERT", str(files.cert))
    assert asked(files) == (200, b"ok")
    (tmp_path / "other").mkdir()
    with pytest.raises(OSError, match="certificate verify failed"):
        asked(Files(tmp_path / "other", made()))


@pytest.mark.parametrize(("cert", "scheme"), [("", "http"), (" ", "http"), ("cert.pem", "https")])
def test_the_address_says_whether_tls_is_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cert: str, scheme: str
) -> None:
    monkeypatch.setenv("TLS_CERT", cert)
    assert Stack(folder=tmp_path).url == f"{scheme}://127.0.0.1:8088"
