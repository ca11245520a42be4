"""The state service: `python -m services.state` folds the log into the status bucket until SIGTERM."""

import sys

import uvloop
from msgspec import Struct

from contracts import bus, env, lifetime, log, subjects
from services.state.materialise import materialise


class Settings(Struct, frozen=True):
    nats_url: str = "nats://127.0.0.1:4222"
    nats_creds: str | None = None
    task_retention: float = 1800


async def serve(settings: Settings) -> bool:
    """True where it was told to stop, False where the connection to the broker is lost for good."""
    stop = lifetime.stop_on_signals()
    async with bus.connect(settings.nats_url, name="state", creds=settings.nats_creds, stop=stop) as broker:
        await broker.wait_for_streams(subjects.EVENTS_STREAM, stop=stop)
        log.get().info("state_ready")
        await materialise(broker, retention_s=settings.task_retention, stop=stop)
        log.get().info("state_stopped")
        return not broker.lost


if __name__ == "__main__":
    settings = env.read(Settings)
    log.configure("state")
    sys.exit(0 if uvloop.run(serve(settings)) else 1)
