"""One stack, described: its folder, its addresses, and the environment that every process of it inherits.

`up`, `demo` and the benches make a `Stack`; `supervisor` runs it.
"""

import hashlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from contracts.process.settings import Address
from contracts.process.start import REFUSALS
from ops.local import address, own_tls
from ops.local.host_header import host_header
from ops.local.paths import KEYS, REPOSITORY, folder_of_up
from ops.local.ports import free_ports

READY_WITHIN_S = 300.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts at which nobody but this machine's own users reaches the edge."""
WEBHOOKS = "webhooks"
"""The process that runs only with a `WEBHOOK_SECRET`."""
MEASURED = ("edge", "state", "inference", WEBHOOKS)
SOCKET_PATH_BYTES_MAX = 90  # the kernel takes 107, of which supervisord wants some for a temporary name


class CannotStart(SystemExit):
    """Ends the process with the sentence that says why a stack cannot start."""


class Stack(Struct, frozen=True, kw_only=True):
    """The settings of one stack. Two stacks on one machine must differ in their folder and all ports.

    `metrics_port` and the three above it are where `MEASURED` serve their numbers, each its own; 0 for nowhere.
    `nats_listen` and `nats_monitor` are `host:port`. `extra` is set in the environment of every process, over all else.
    """

    folder: Path
    nats_listen: Address = "127.0.0.1:4222"
    nats_monitor: Address = "127.0.0.1:8222"
    server_host: str = "127.0.0.1"
    server_port: int = 8088
    metrics_port: int = 0
    ranks: int = 2
    video_store_url: str = "generated_videos/"
    scratch_store_url: str = "scratch/"
    ready_within_s: float = READY_WITHIN_S
    extra: Mapping[str, str] = {}

    @property
    def url(self) -> str:
        """Return the edge's URL for a client on this machine, without a slash at its end."""
        return f"{own_tls.scheme()}://{address.reachable(self.server_host)}:{self.server_port}"

    @property
    def host(self) -> str | None:
        """Return the `Host` header for requests to the edge, or None if the URL's own host is served."""
        allowed = {**os.environ, **self.extra}.get("ALLOWED_HOSTS", "")
        return host_header(allowed, address.reachable(self.server_host))

    @property
    def has_webhooks(self) -> bool:
        """Return whether the webhook service runs, which does not start without a secret."""
        return bool({**os.environ, **self.extra}.get("WEBHOOK_SECRET", "").strip())

    @property
    def metrics_ports(self) -> dict[str, int]:
        """Return the port on which each process that runs serves its numbers, by its name; 0 for none."""
        ports = {name: self.metrics_port and self.metrics_port + at for at, name in enumerate(MEASURED)}
        return {name: port for name, port in ports.items() if name != WEBHOOKS or self.has_webhooks}

    @property
    def refusals(self) -> Path:
        """Return the folder in which processes leave the sentence that says why they cannot start."""
        return self.folder / "refusals"

    @property
    def nats_url(self) -> str:
        host, port = address.host_and_port(self.nats_listen)
        return f"nats://{address.reachable(host)}:{port}"

    @property
    def monitor_url(self) -> str:
        host, port = address.host_and_port(self.nats_monitor)
        return f"http://{address.reachable(host)}:{port}"

    @property
    def socket(self) -> Path:
        """Return supervisord's socket: in the folder, or in the system's temporary folder if that path is too long."""
        inside = self.folder / "supervisor.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES_MAX:
            return inside
        return Path(tempfile.gettempdir()) / f"wanjet-{hashlib.sha256(os.fsencode(inside)).hexdigest()[:12]}.sock"

    @property
    def keys(self) -> Path:
        """Return the folder with the key of each user of the broker, and the broker's configuration."""
        return self.folder / KEYS

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def log(self, name: str) -> Path:
        """Return the log file of a process, such as `edge` or `supervisord`."""
        return self.logs / f"{name}.log"

    def environment(self) -> dict[str, str]:
        """Return the environment of supervisord, which all processes inherit: this process's, and the stack's over it.

        `OMP_NUM_THREADS`, `NATS_SERVER_BIN`, `SHOW_ALL_JOBS` and `METRICS_HOST` are set only if this process's
        environment has none. Paths of commands are quoted for a shell.
        """
        cores_per_rank = max(1, _cores() // self.ranks)
        given = {
            "OMP_NUM_THREADS": str(cores_per_rank),
            "NATS_SERVER_BIN": str(Path(sys.executable).parent / "nats-server"),
            "SHOW_ALL_JOBS": str(int(self.server_host in LOOPBACK)),
            "METRICS_HOST": self.server_host,
            **os.environ,
            "no_proxy": f"{os.environ.get('no_proxy', '')},127.0.0.1,::1,localhost",  # they speak to each other alone
            "PYTHONUNBUFFERED": "1",
            "TRANSFORMERS_VERBOSITY": "error",  # else every rank warns at each start that torchvision is missing
            "WANJET_REPOSITORY": str(REPOSITORY),
            "WANJET_FOLDER": str(self.folder),
            "WANJET_LOGS": str(self.logs).replace("%", "%%"),  # of a log file, supervisord expands `%` again
            "WANJET_LOGS_QUOTED": shlex.quote(str(self.logs)),
            "WANJET_SOCKET": str(self.socket),
            REFUSALS: str(self.refusals),
            "TMPDIR": str(self.temporary),
            **self._of_broker(),
            "SERVER_HOST": self.server_host,
            "SERVER_PORT": str(self.server_port),
            **{f"WANJET_METRICS_{name.upper()}": str(port) for name, port in self.metrics_ports.items()},
            "RANKS": str(self.ranks),
            "VIDEO_STORE_URL": self.video_store_url,
            "SCRATCH_STORE_URL": self.scratch_store_url,
            "WANJET_WEBHOOKS": str(int(self.has_webhooks)),
            **self.extra,
        }
        commands = {
            "WANJET_PYTHON": sys.executable,
            "WANJET_NATS_SERVER": given["NATS_SERVER_BIN"],
            "WANJET_NATS_CONF": str(self.keys / "broker" / "nats-server.conf"),
        }
        return {**given, **{name: shlex.quote(path) for name, path in commands.items()}}

    def _of_broker(self) -> dict[str, str]:
        """Return the variables of the broker, and those by which processes find it and show who they are."""
        return {
            "NATS_LISTEN": _in_conf(self.nats_listen),
            "NATS_MONITOR": _in_conf(self.nats_monitor),
            "NATS_STORE": _in_conf(str(self.folder / "jetstream")),
            "WANJET_BROKER_HEALTH": f"{self.monitor_url}/healthz",
            "NATS_URL": self.nats_url,
            "NATS_MONITOR_URLS": "",  # provisioning asks over the system account
            "NATS_CREDS": "",
            "NATS_KEYS": str(self.keys),
        }


def on_free_ports(folder: Path, **fields: Any) -> Stack:
    """Return a stack in this folder on three free ports of 127.0.0.1; `fields` are further fields of `Stack`.

    Raises `OSError` if too few ports are free.
    """
    nats, monitor, edge = free_ports(3)
    return Stack(
        folder=folder, nats_listen=f"127.0.0.1:{nats}", nats_monitor=f"127.0.0.1:{monitor}", server_port=edge, **fields
    )


def _in_conf(text: str) -> str:
    """Quote a text for a variable that nats-server reads as a piece of its configuration.

    Its strings know the escapes \\" and \\\\ of JSON, and not \\u.
    """
    return json.dumps(text, ensure_ascii=False)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


if __name__ == "__main__":
    print(Stack(folder=folder_of_up()).socket)  # for `just ctl`
