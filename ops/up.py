"""The whole service on this machine, in the foreground: `python -m ops.up`, until Ctrl-C. Restarts what dies."""

import sys
from itertools import combinations
from pathlib import Path

from msgspec import Struct

from contracts import env
from contracts.bounds import Ranks
from contracts.settings import Address, Host, Port, StoreUrl, Wait
from ops.stack import READY_WITHIN_S, RUNTIME, Stack, end_once, running

FOLDER = RUNTIME / "up"


class Settings(Struct, frozen=True):
    """The addresses to listen on, and how many ranks; `ready_within` is in seconds.

    `wanjet_folder` is where the broker's disk and all logs are.
    """

    nats_listen: Address = "127.0.0.1:4222"
    nats_monitor: Address = "127.0.0.1:8222"
    server_host: Host = "127.0.0.1"
    server_port: Port = 8088
    ranks: Ranks = 2
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"
    ready_within: Wait = READY_WITHIN_S
    wanjet_folder: str = str(FOLDER)

    def contradictions(self) -> list[str]:
        """Return a sentence if two servers were to listen on one port."""
        ports = {"SERVER_PORT": self.server_port}
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
    return Stack(
        folder=Path(settings.wanjet_folder).resolve(),
        nats_listen=settings.nats_listen,
        nats_monitor=settings.nats_monitor,
        server_host=settings.server_host,
        server_port=settings.server_port,
        ranks=settings.ranks,
        video_store_url=settings.video_store_url,
        scratch_store_url=settings.scratch_store_url,
        ready_within_s=settings.ready_within,
    )


def main() -> None:
    described = stack(env.read(Settings))
    end_once(code=0)  # Ctrl-C is how it is meant to end
    with running(described) as supervisord:
        print(f"WanJet serves {described.url} until Ctrl-C", flush=True)
        supervisord.wait()
    sys.exit("supervisord has ended by itself; its log says why")


if __name__ == "__main__":
    main()
