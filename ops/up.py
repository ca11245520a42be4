"""The whole service on this machine, in the foreground: `python -m ops.up`, until Ctrl-C. Restarts what dies."""

import sys
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from contracts import env
from ops.stack import READY_WITHIN_S, RUNTIME, Address, Stack, end_once, running

FOLDER = RUNTIME / "up"


class Settings(Struct, frozen=True):
    """The addresses to listen on, and how many ranks; `ready_within` is in seconds.

    `wanjet_folder` is where the broker's disk and all logs are.
    """

    nats_listen: Address = "127.0.0.1:4222"
    nats_monitor: Address = "127.0.0.1:8222"
    server_host: str = "127.0.0.1"
    server_port: Annotated[int, Meta(ge=1, le=65535)] = 8088
    ranks: Annotated[int, Meta(ge=1, le=1024)] = 2
    video_store_url: str = "generated_videos/"
    scratch_store_url: str = "scratch/"
    ready_within: float = READY_WITHIN_S
    wanjet_folder: str = str(FOLDER)


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
