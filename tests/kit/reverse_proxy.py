"""nginx and Caddy by the shipped snippets of ops/proxy, on free ports in front of a server of a test's own."""

import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from tests.kit.certificates import Files
from tests.kit.machine import REPOSITORY, free_port

SNIPPETS = REPOSITORY / "ops" / "proxy"
STOP_WITHIN_S = 20
LOGS = ("error.log", "proxy.log")

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/wanjet.conf;
}}
"""
CADDY = "{{\n\tadmin off\n\thttp_port {plain}\n\thttps_port {port}\n\tauto_https disable_redirects\n}}\n"


class ReverseProxy(ABC):
    """A reverse proxy in front of a port of 127.0.0.1, from `start` to `stop`. `url` is where clients find it."""

    binary: str
    snippet: str

    def __init__(self, folder: Path, upstream: int, files: Files) -> None:
        self.folder, self.upstream, self.files = folder, upstream, files
        self.port, self.plain = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"

    @classmethod
    def installed(cls) -> bool:
        return shutil.which(cls.binary) is not None

    def configuration(self, **others: str) -> str:
        """Return the snippet with this proxy's files and ports. Each that is replaced must be there."""
        text = (SNIPPETS / self.snippet).read_text()
        common = {
            "127.0.0.1:8088": f"127.0.0.1:{self.upstream}",
            "/etc/wanjet/cert.pem": str(self.files.cert),
            "/etc/wanjet/key.pem": str(self.files.key),
        }
        for shipped, here in {**common, **others}.items():
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        return text

    @abstractmethod
    def command(self) -> list[str]:
        """Write the configuration, and return the command that runs in the foreground by it."""

    @property
    def alive(self) -> bool:
        return self._running.poll() is None

    @property
    def text(self) -> str:
        """Return what the proxy has said."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")) if log.name in LOGS)

    def start(self) -> None:
        with (self.folder / "proxy.log").open("wb") as log:
            self._running = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)},
            )

    def stop(self) -> None:
        self._running.terminate()
        try:
            self._running.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


class Nginx(ReverseProxy):
    """Debian's nginx."""

    binary, snippet = "nginx", "nginx.conf"

    def command(self) -> list[str]:
        own = {"listen 80;": f"listen 127.0.0.1:{self.plain};", "listen 443 ": f"listen 127.0.0.1:{self.port} "}
        (self.folder / "wanjet.conf").write_text(self.configuration(**own))
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder))
        return ["nginx", "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf")]


class Caddy(ReverseProxy):
    """Debian's Caddy."""

    binary, snippet = "caddy", "Caddyfile"

    def command(self) -> list[str]:
        own = {"video.example.org {": f"https://127.0.0.1:{self.port}, https://video.example.org {{\n\tbind 127.0.0.1"}
        (self.folder / "Caddyfile").write_text(
            CADDY.format(plain=self.plain, port=self.port) + self.configuration(**own)
        )
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(self.folder / "Caddyfile")]
