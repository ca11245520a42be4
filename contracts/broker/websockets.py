"""Import nats-py without aiohttp, which it needs for `ws://` alone. `bus` calls `load`, which imports it for those.

The package imports this module before any that imports nats-py.
"""

from importlib import import_module

from contracts.process.left_out import left_out

with left_out("aiohttp"):
    from nats.aio import transport

SCHEMES = ("ws:", "wss:")


def load(servers: list[str]) -> None:
    """Import aiohttp for nats-py if one of the servers is to be reached by websocket."""
    if any(server.lower().startswith(SCHEMES) for server in servers):
        for name in ("aiohttp", "multidict"):
            setattr(transport, name, import_module(name))
