"""Runs the whole service on this machine in the foreground, until Ctrl-C: `python -m ops.local.up` (`just up`).

supervisord restarts a process that dies, unless its settings cannot work.
"""

import os
import subprocess
import sys
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from contracts.bounds import Ranks
from contracts.process import env, start
from contracts.process.addresses import PORT_MAX
from contracts.process.misspelt import misspelt
from contracts.process.settings import Address, Host, LogSettings, Port, StoreUrl, Wait
from contracts.process.start import left
from ops.local.paths import RUNTIME
from ops.local.signals import exit_on_signals
from ops.local.stack import MEASURED, READY_WITHIN_S, Stack
from ops.local.supervisor import running

FOLDER = RUNTIME / "up"
WATCH_EVERY_S = 1.0

MetricsPort = Annotated[int, Meta(ge=0, le=PORT_MAX - len(MEASURED) + 1)]
"""The first of as many ports as there are processes that serve numbers; 0 for none."""


class Settings(Struct, frozen=True):
    """The environment variables of `just up`: addresses to listen on, number of ranks, stores.

    The numbers of edge, state, cluster and webhooks are served on `metrics_port` and the three above it, in this order.
    `ready_within` is in seconds; `wanjet_folder` holds the broker's disk and all logs.
    """

    nats_listen: Address = "127.0.0.1:4222"
    nats_monitor: Address = "127.0.0.1:8222"
    server_host: Host = "127.0.0.1"
    server_port: Port = 8088
    metrics_port: MetricsPort = 9480
    ranks: Ranks = 2
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"
    ready_within: Wait = READY_WITHIN_S
    wanjet_folder: str = str(FOLDER)

    def contradictions(self) -> list[str]:
        """Return a sentence for each pair of servers that would listen on one port."""
        ports = {"SERVER_PORT": self.server_port}
        if self.metrics_port:
            ports |= {f"METRICS_PORT of {name}": self.metrics_port + at for at, name in enumerate(MEASURED)}
        ports |= {
            name: int(at.rpartition(":")[2])
            for name, at in (("NATS_LISTEN", self.nats_listen), ("NATS_MONITOR", self.nats_monitor))
        }
        return [
            f"{name} has port {port}, which {other} has too; each must have a port of its own"
            for (other, taken), (name, port) in combinations(ports.items(), 2)
            if port == taken
        ]


def stack(settings: Settings) -> Stack:
    """Return the stack that the settings describe."""
    return Stack(
        folder=Path(settings.wanjet_folder).resolve(),
        nats_listen=settings.nats_listen,
        nats_monitor=settings.nats_monitor,
        server_host=settings.server_host,
        server_port=settings.server_port,
        metrics_port=settings.metrics_port,
        ranks=settings.ranks,
        video_store_url=settings.video_store_url,
        scratch_store_url=settings.scratch_store_url,
        ready_within_s=settings.ready_within,
    )


def watch(described: Stack, supervisord: subprocess.Popen[bytes]) -> None:
    """Return once supervisord has ended. Meanwhile print why a process has ended for good, once for each new reason."""
    printed: dict[str, str] = {}
    while supervisord.poll() is None:
        for service, sentence in left(described.refusals).items():
            if printed.get(service) != sentence:
                print(f"{service} has ended until `just ctl start {service}`: {sentence}", flush=True)
                printed[service] = sentence
        with suppress(subprocess.TimeoutExpired):
            supervisord.wait(WATCH_EVERY_S)


def main() -> None:
    """Run the stack until a signal; then exit with 0.

    Ends the process with a sentence if the stack cannot start or ends.
    """
    with start.refusing("up"):
        described = stack(env.read(Settings))
        env.read(LogSettings)  # which all processes have
    for variable, meant in misspelt(os.environ).items():
        print(f"{variable} is no setting; is {meant} meant?", flush=True)
    exit_on_signals(code=0)  # Ctrl-C is how it is meant to end
    with running(described) as supervisord:
        print(f"WanJet serves {described.url} until Ctrl-C", flush=True)
        if described.metrics_port:
            where = ", ".join(f"{name} {port}" for name, port in described.metrics_ports.items())
            print(f"numbers for Prometheus are at /metrics of the ports {where}", flush=True)
        watch(described, supervisord)
    sys.exit("supervisord has ended by itself; its log says why")


if __name__ == "__main__":
    main()
