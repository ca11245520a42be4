"""Starts the servers that ours is measured against: the usual way, a bare Litestar, and nginx if it is installed."""

import shutil
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ops.bench.service.processes import Cores, Process
from ops.bench.service.stack import answers
from ops.bench.turns import say
from ops.local.ports import free_ports

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location /videos/ {{ root {root}; }} }}
}}
"""


class Server:
    """A server on a port; `process` is its own process."""

    def __init__(self, name: str, process: Process, port: int) -> None:
        self.name, self.process, self.port = name, process, port


@contextmanager
def usual(folder: Path, cores: Cores, *, jobs: int = 0) -> Generator[Server, None, None]:
    """Run the usual way for the length of the block, with so many jobs of each kind; its folder may hold `videos`."""
    server = usual_server(folder, cores, jobs=jobs)
    with _running(server, "/openapi.json"):
        yield server


def usual_server(folder: Path, cores: Cores, *, jobs: int = 0) -> Server:
    """Return the usual way, not started."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "ops.bench.service.usual", str(port), str(folder), str(jobs)]
    return Server("usual", Process(command, folder / "usual.log", cores=cores.service), port)


@contextmanager
def bare(folder: Path, cores: Cores) -> Generator[Server, None, None]:
    """Run the bare Litestar for the length of the block."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "ops.bench.service.bare", str(port)]
    server = Server("litestar", Process(command, folder / "bare.log", cores=cores.service), port)
    with _running(server, "/video/status/" + "0" * 32):
        yield server


@contextmanager
def nginx(folder: Path, videos: Path, cores: Cores) -> Generator[Server | None, None, None]:
    """Run nginx with the files of `videos` (a folder of that name) below `/videos/`; yield None if it is not here."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        say("nginx is not installed: no rows against nginx")
        yield None
        return
    (port,) = free_ports(1)
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port, root=videos.parent))
    process = Process([binary, "-c", str(conf), "-p", str(folder)], folder / "nginx.log", cores=cores.service)
    server = Server("nginx", process, port)
    with _running(server, f"/videos/{next(videos.glob('*.mp4')).name}"):
        yield server


@contextmanager
def _running(server: Server, path: str) -> Generator[None, None, None]:
    """Run a server for the length of the block; it is ready once it answers at the path."""
    try:
        server.process.start().wait_for(lambda: answers(server.port, path))
        yield
    finally:
        server.process.stop(signal.SIGTERM)
