"""Asks the broker's servers whether they fsync each message before they acknowledge it. `provision` refuses others.

Without fsync an acknowledged job could be lost at a power failure. All servers are asked at once over the system
account, where `NATS_KEYS` has the key for that, so that no monitor needs to be reached; else each one's monitor.
"""

import asyncio
import json
from typing import Any
from urllib.request import urlopen

from contracts.broker import Bus
from contracts.process import env
from contracts.process.env import BadSetting
from ops.broker import connected, has_key
from ops.nats.permissions import JSZ
from ops.nats.rights import SYSTEM
from ops.streams import Settings

MONITOR_TIMEOUT_S = 5
MONITOR_URLS = ("http://127.0.0.1:8222",)
"""Asked if nothing else is known."""
QUIET_S = 1.0
"""How long nothing comes until every server is taken to have answered."""
TRIES_MAX = 5
"""How often all servers are asked, as one may just be starting."""


def undurable(monitor_urls: tuple[str, ...]) -> list[str]:
    """Return the monitor URLs of the servers that do not say that they fsync before they acknowledge.

    A server that does not answer is among them.
    """
    return [url for url in monitor_urls if not _syncs_always(url)]


def _syncs_always(url: str) -> bool:
    """Return whether a server's /jsz has `sync_always`; False if it does not answer within `MONITOR_TIMEOUT_S`."""
    try:
        with urlopen(f"{url.rstrip('/')}/jsz", timeout=MONITOR_TIMEOUT_S) as answer:  # noqa: S310  # operator's URL
            return json.load(answer).get("config", {}).get("sync_always") is True
    except (OSError, ValueError):
        return False


async def undurable_servers(system: Bus) -> list[str]:
    """Return the names of the servers that do not say that they fsync, asked over the system account.

    Servers of the cluster that have not answered are one more entry. All are asked again, up to `TRIES_MAX` times,
    while that is so.
    """
    found: list[str] = []
    for _ in range(TRIES_MAX):
        found = doubtful([json.loads(answer) for answer in await system.ask_all(JSZ, quiet_s=QUIET_S)])
        if not found:
            break
    return found


def doubtful(answers: list[Any]) -> list[str]:
    """Return what is doubtful about servers' answers: their names, and how many are missing. Pure."""
    states = {answer["server"]["name"]: answer.get("data", {}) for answer in answers}
    found = [name for name, state in states.items() if state.get("config", {}).get("sync_always") is not True]
    size = max((state.get("meta_cluster", {}).get("cluster_size", 1) for state in states.values()), default=1)
    return found if len(states) >= size else [*found, f"{size - len(states)} of {size} servers, which do not answer"]


async def check_server(broker: Bus, settings: Settings) -> None:
    """Raise `BadSetting` if the broker is unsuitable or may lose acknowledged messages."""
    if (objection := broker.server.objection) is not None:
        raise BadSetting(f"{objection} ({env.shown(settings.nats_url)}, NATS_URL)")
    if settings.nats_durability_unchecked or not (servers := await _undurable(settings)):
        return
    raise BadSetting(
        f"{', '.join(servers)}: no `sync_interval: always` to be seen, so an acknowledged job could be lost "
        "with the power. Set it, or NATS_MONITOR_URLS, or NATS_DURABILITY_UNCHECKED=1 to go on regardless."
    )


async def _undurable(settings: Settings) -> list[str]:
    """Return the servers that do not say that they fsync, by the way of asking that the settings allow."""
    if not settings.nats_monitor_urls and has_key(settings, SYSTEM):
        async with connected(settings, name="provision", user=SYSTEM) as system:
            return await undurable_servers(system)
    return await asyncio.to_thread(undurable, settings.nats_monitor_urls or MONITOR_URLS)
