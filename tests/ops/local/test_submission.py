import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ops.local.submission import POCKET_MODEL, model_of, submit

ID = "0" * 32
CLUSTER = {"name": "vm", "model": "pocket", "sizes": ["256*144", "144*256"], "default_size": "256*144", "heads": 6}


@contextmanager
def answering(status: int, body: bytes) -> Generator[str]:
    """A server that has one answer to everything; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        """Answers, and logs nothing."""

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the handler's own name for it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def test_the_model_is_the_one_that_health_names() -> None:
    with answering(200, json.dumps({"status": "healthy", "clusters": [CLUSTER]}).encode()) as url:
        assert model_of(url) == POCKET_MODEL


@pytest.mark.parametrize("body", [{"status": "degraded", "clusters": []}, {"status": "unhealthy"}])
def test_a_cluster_that_has_gone_is_said(body: dict[str, object]) -> None:
    with answering(503, json.dumps(body).encode()) as url, pytest.raises(SystemExit, match="the cluster has gone"):
        model_of(url)


def test_an_accepted_submission_has_an_id() -> None:
    with answering(202, json.dumps({"requestId": ID}).encode()) as url:
        assert submit(url, b"{}") == ID


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            400,
            b'{"error": "VALIDATION_ERROR", "message": "image_url: it is damaged", "details": []}',
            "image_url: it is",
        ),
        (429, '{"error": "BUSY", "message": "5 of 5 jobs", "detail": "服务器繁忙"}'.encode(), "5 of 5 jobs"),
        (429, '{"detail": "服务器繁忙，请稍后重试"}'.encode(), '{"detail": "服务器繁忙，请稍后重试"}'),
        (502, b"<html>bad gateway</html>", "<html>bad gateway</html>"),
    ],
)
def test_a_refused_submission_says_why_in_the_words_of_the_service(status: int, body: bytes, said: str) -> None:
    with answering(status, body) as url, pytest.raises(SystemExit) as end:
        submit(url, b"{}")
    assert str(end.value.code).startswith(f"the service refused it ({status}): {said}")
