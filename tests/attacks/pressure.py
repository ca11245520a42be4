"""The attacker's process: `python -m tests.attacks.pressure NAME PORT` attacks 127.0.0.1:PORT until SIGTERM.

It is a process of its own, so that ten thousand sockets here do not slow down who measures.
"""

import asyncio
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

STANDS = "stands"


@dataclass(frozen=True)
class Pressure:
    """Where to press."""

    port: int
    host: str = "127.0.0.1"

    def stands(self) -> None:
        """Tell the runner that the attack is under way in full."""
        print(STANDS, flush=True)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)


async def main(name: str, port: int) -> None:
    from tests.attacks.attack import attack  # noqa: PLC0415  # which imports this module

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pressing = asyncio.ensure_future(attack(name).press(Pressure(port)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pressing.cancel)
    with suppress(asyncio.CancelledError):
        await pressing


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
