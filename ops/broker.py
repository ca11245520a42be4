"""Connects the commands of an operator to the broker, or ends them with one sentence that says why it cannot.

`provision`, `replay`, `rebuild` and the bench enter `connected`; commands that show something, or change keys, enter
`answering`.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.broker import Bus, Unavailable, bus
from contracts.process import log
from contracts.process.broker_settings import BrokerSettings, seed_file
from contracts.process.env import BadSetting, shown
from ops.local.paths import keys_of_up

CONNECT_WITHIN_S = 5
ANSWER_WITHIN_S = 5.0
"""How long a person waits for one answer of a broker that has fallen silent."""
POLL_S = 0.05
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Settings(BrokerSettings, frozen=True):
    """The settings of a command that needs nothing but the broker."""


@asynccontextmanager
async def connected(
    settings: BrokerSettings,
    *,
    name: str,
    user: str | None = None,
    within_s: float = CONNECT_WITHIN_S,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[Bus, None]:
    """Yield a connection for the length of the block. With an infinite `within_s`, wait for a broker until `stop`.

    `user` is the user of the broker whose credentials are shown, by default `name`.

    If `stop` is set first, the connection that is yielded may not have reached a broker. Raises `SystemExit` if no
    broker answers within `within_s`, and `BadSetting` if the broker refuses the credentials, if no TLS is agreed on, or
    if the settings allow no connection.
    """
    stop = stop or asyncio.Event()
    url, user = settings.nats_url, user or name
    creds = settings.creds(user) or _local_key(url, user)
    async with bus.connect(url, name=name, user=user, creds=creds, tls=settings.tls(), stop=stop, wait=False) as broker:
        deadline = asyncio.get_running_loop().time() + within_s
        while not (broker.begun or stop.is_set() or broker.complaints.keep_out or broker.failure):
            if asyncio.get_running_loop().time() > deadline:
                raise SystemExit(f"no broker answers at {shown(url)} (NATS_URL); does the service run?")
            await asyncio.sleep(POLL_S)
        _check_let_in(broker, shown(url))
        if math.isfinite(within_s) and not broker.begun:
            raise SystemExit(f"no broker answers at {shown(url)} (NATS_URL)")
        yield broker


def _check_let_in(broker: Bus, where: str) -> None:
    """Raise `BadSetting` if the connection cannot be made until a setting, or the broker at `where`, is another."""
    refusal, no_tls = broker.complaints.refusal, broker.complaints.no_tls
    if broker.failure:
        raise BadSetting(f"no connection to {where} can be made (NATS_URL, NATS_CREDS): {broker.failure}")
    if refusal:
        raise BadSetting(f"the broker at {where} refuses these credentials (NATS_URL, NATS_CREDS): {refusal}")
    if no_tls:
        raise BadSetting(f"no TLS with the broker at {where} (NATS_URL, NATS_CA, NATS_CERT): {no_tls}")


@asynccontextmanager
async def answering(
    settings: BrokerSettings, *, name: str, user: str = "operator", stop: asyncio.Event | None = None
) -> AsyncGenerator[Bus, None]:
    """Yield a connection as `connected` does, for a command of a person who waits for what a provisioned broker holds.

    No line of the log stands between what the command prints. Raises `SystemExit` with a sentence if the broker is not
    provisioned, or gives no answer in the block (`Unavailable`), and what `connected` raises.
    """
    where = shown(settings.nats_url)
    with log.silence():
        async with connected(settings, name=name, user=user, stop=stop) as broker:
            try:
                await broker.stream(subjects.EVENTS_STREAM, within_s=ANSWER_WITHIN_S)
                yield broker
            except NotFoundError:
                raise SystemExit(f"the broker at {where} is not provisioned: `just provision`") from None
            except Unavailable:
                if (denied := broker.complaints.denied) is not None:
                    right = f"{denied.verb} to {log.escaped(denied.subject)}"
                    raise SystemExit(f"the broker at {where} does not let this user {right} (NATS_CREDS)") from None
                raise SystemExit(f"the broker at {where} has fallen silent (NATS_URL): is it well?") from None


def has_key(settings: BrokerSettings, user: str) -> bool:
    """Return whether a folder of keys is known, by the settings or that of `just up`, and has one of this user."""
    if settings.nats_keys is not None:
        return seed_file(settings.nats_keys, user).exists()
    return _local_key(settings.nats_url, user) is not None


def _local_key(url: str, user: str) -> str | None:
    """Return the path of the key of `just up` for this user, if the URL is one of this machine that names no user."""
    hosts = {urlsplit(each if "://" in each else f"nats://{each}").hostname for each in url.split(",")}
    seed = seed_file(keys_of_up(), user)
    return str(seed) if "@" not in url and hosts <= LOOPBACK and seed.is_file() else None
