"""The edge: `python -m services.edge` serves HTTP until SIGTERM."""

import asyncio
import sys

import uvicorn
import uvloop

from contracts import env, lifetime, log
from services.edge.app import Settings, app
from services.edge.guard import Guarded

KEEP_ALIVE_S = 15
GRACE_S = 20
CONNECTIONS_MAX = 1000
BACKLOG = 256


async def serve(settings: Settings) -> bool:
    """True where it was told to stop, False where the connection to the broker is lost for good."""
    lost = asyncio.Event()
    server = uvicorn.Server(
        uvicorn.Config(
            app(settings, lost),
            host=settings.server_host,
            port=settings.server_port,
            http=Guarded,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=CONNECTIONS_MAX,
            backlog=BACKLOG,
        )
    )
    stop = lifetime.stop_on_signals()  # uvicorn takes signals over once it serves, and raises them again at its end
    serving = asyncio.create_task(server.serve())
    ends = [asyncio.create_task(event.wait()) for event in (lost, stop)]
    await asyncio.wait([serving, *ends], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    for end in ends:
        end.cancel()
    return not lost.is_set()


if __name__ == "__main__":
    settings = env.read(Settings)
    log.configure("edge")
    sys.exit(0 if uvloop.run(serve(settings)) else 1)
