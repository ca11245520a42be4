"""Asks the broker's servers whether they fsync each message before they acknowledge it. `provision` refuses others.

Without fsync an acknowledged job could be lost at a power failure.
"""

import json
from urllib.request import urlopen

from contracts.broker import Bus
from contracts.process import env
from contracts.process.env import BadSetting
from ops.streams import Settings

MONITOR_TIMEOUT_S = 5


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


def check_server(broker: Bus, settings: Settings) -> None:
    """Raise `BadSetting` if the broker is unsuitable or may lose acknowledged messages. Blocks while it asks."""
    if (objection := broker.server.objection) is not None:
        raise BadSetting(f"{objection} ({env.shown(settings.nats_url)}, NATS_URL)")
    doubtful = [] if settings.nats_durability_unchecked else undurable(settings.nats_monitor_urls)
    if doubtful:
        raise BadSetting(
            f"{', '.join(doubtful)}: no `sync_interval: always` to be seen, so an acknowledged job could be lost "
            "with the power. Set it, or NATS_MONITOR_URLS, or NATS_DURABILITY_UNCHECKED=1 to go on regardless."
        )
