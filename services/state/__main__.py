"""The state service: `python -m services.state` folds the log into the status bucket until SIGTERM."""

import asyncio
import signal
import sys

import uvloop
from msgspec import Struct

from contracts import bus, env, log, subjects
from services.state.materialise import materialise


class Settings(Struct, frozen=True):
    nats_url: str = "nats://127.0.0.1:4222"
    nats_creds: str | None = None
    task_retention: float = 1800


async def serve(settings: Settings) -> bool:
    """True where it was told to stop, False where the broker closed the connection for good."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with bus.connect(settings.nats_url, name="state", creds=settings.nats_creds) as broker:
        await broker.wait_for_streams(subjects.EVENTS_STREAM, stop=stop)
        log.get().info("state_ready")
        async with asyncio.TaskGroup() as tasks:
            end = tasks.create_task(broker.closed.wait())
            end.add_done_callback(lambda _: stop.set())
            await materialise(broker, retention_s=settings.task_retention, stop=stop)
            end.cancel()
        log.get().info("state_stopped")
        return not broker.closed.is_set()


if __name__ == "__main__":
    settings = env.read(Settings)
    log.configure("state")
    sys.exit(0 if uvloop.run(serve(settings)) else 1)
