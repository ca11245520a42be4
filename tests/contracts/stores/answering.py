"""A server that stands for an object store and gives the same answer to every request."""

from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def answering(status: int, body: str, asked: list[str] | None = None) -> Generator[str, None, None]:
    """Yield the address of a server that answers every request alike, and appends its path to `asked`."""

    class Handler(BaseHTTPRequestHandler):
        """The answer to a request of any method."""

        def answer(self) -> None:
            if asked is not None:
                asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815  # http.server's own names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        """A server that is quiet about broken requests."""

        def handle_error(self, request: object, client_address: object) -> None:  # its own
            """Say nothing of a client that speaks TLS."""

    with Server(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
