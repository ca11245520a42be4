"""The edge: `python -m services.edge` serves HTTP until SIGTERM, then finishes the requests in flight, and exits."""

from contracts.process import garbage

with garbage.frozen():
    import asyncio
    import sys

    import uvloop

    from contracts.process import env, lifetime, log, metrics_port, start, tracing
    from contracts.process.listening import listening
    from contracts.stores import configured
    from services.edge.app import app
    from services.edge.auth.proxies import client_named_by
    from services.edge.http.certificates import certificates, renewed
    from services.edge.http.crowd import Crowd, connections_for, raise_files_limit
    from services.edge.http.limits import HttpLimits
    from services.edge.http.server import Server
    from services.edge.numbers import EdgeNumbers
    from services.edge.settings import Settings

END_WITHIN_S = 19.0  # a little over the sum of the waits in `server`'s shutdown
THREADS_END_WITHIN_S = 1.0


async def serve(settings: Settings, limits: HttpLimits | None = None) -> bool:
    """Serve until a signal comes, and return True, or until the broker is lost for good, and return False.

    The process is ended by force `END_WITHIN_S` after the signal, and `THREADS_END_WITHIN_S` after the return. Raises
    `BadSetting` if it cannot listen, or if its certificate cannot serve. Tests give other limits than production's.
    """
    lost, draining = asyncio.Event(), asyncio.Event()
    pair = certificates(settings.tls_cert, settings.tls_key)
    numbers = EdgeNumbers(None if pair is None else lambda: pair.validity.ends)
    connections_max = connections_for(raise_files_limit())
    crowd = Crowd(asyncio.get_running_loop(), connections_max, numbers.refused)
    sockets = listening(settings.server_host, settings.server_port)
    scrapes = metrics_port.opened(settings.metrics_host, settings.metrics_port)
    served = app(settings, lost, draining, numbers, scrapes, connections_max=connections_max)
    server = Server(
        served,
        settings.server_host,
        settings.server_port,
        crowd,
        keep_alive_s=settings.keep_alive,
        limits=limits or HttpLimits(),
        client_of=client_named_by(settings.trusted_proxies),
        certificates=pair,
    )
    stop = lifetime.stop_on_signals(end_within_s=END_WITHIN_S)
    log.get().info("edge_starts", auth=settings.auth)
    async with renewed(pair):
        serving = asyncio.create_task(server.serve(sockets))
        ending = asyncio.create_task(lifetime.wait_for_first(lost, stop))
        await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
        draining.set()
        server.should_exit = True
        await serving
        ending.cancel()
    lifetime.end_within(THREADS_END_WITHIN_S, code=1 if lost.is_set() else 0)
    return not lost.is_set()


if __name__ == "__main__":
    with start.refusing("edge"):
        settings = env.read(Settings)
        start.configure("edge", own_stdout=True)
        tracing.configure("edge")
        settings.shown("edge")
        configured.check(settings.video_store_url, settings.scratch_store_url)
        sys.exit(0 if uvloop.run(serve(settings)) else 1)
