"""Brokers for tests: a real nats-server with a configuration of the test's own, and a server that is too old."""

import socketserver
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from tests.kit.machine import NATS_SERVER, free_port

USER = "{ user: u, password: p }"
JETSTREAM = "max_mem: 64M, max_file: 4G"


@contextmanager
def server(folder: Path, conf: str) -> Generator[dict[str, str], None, None]:
    """Run a real nats-server with this configuration; yield the variables of a process that provisions it."""
    port, monitor = free_port(), free_port()
    file = folder / "nats.conf"
    file.write_text(
        f"listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\nmax_payload: 256KB\n"
        f'jetstream {{ store_dir: "{folder}/js", max_file_store: 4GB, sync_interval: always }}\n{conf}\n'
    )
    with subprocess.Popen([NATS_SERVER, "-c", str(file)], stderr=subprocess.DEVNULL) as running:
        try:
            yield {
                "NATS_URL": f"nats://u:p@127.0.0.1:{port}",
                "NATS_MONITOR_URLS": f"http://127.0.0.1:{monitor}",
            }
        finally:
            running.kill()


OLD = '{"server_id":"A","version":"2.10.26","proto":1,"headers":true,"jetstream":true,"max_payload":1048576}'


@contextmanager
def old_server() -> Generator[str, None, None]:
    """Yield the URL of a server that greets as nats-server 2.10.26, and says that nothing listens to any request."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"nats://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Greeting(socketserver.StreamRequestHandler):
    """Speaks to one client as an old nats-server does."""

    def handle(self) -> None:
        self.wfile.write(f"INFO {OLD}\r\n".encode())
        with suppress(OSError):
            for line in self.rfile:
                if line.startswith(b"PING"):
                    self.wfile.write(b"PONG\r\n")
