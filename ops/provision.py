"""Makes and corrects every stream, bucket and durable: `python -m ops.provision`. Idempotent; the only admin.

A changed `MAX_CONCURRENT_TASKS` is applied to the live stream; jobs above a lowered limit stay and drain.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from urllib.request import urlopen

import nats.errors
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from contracts import env, log, subjects
from contracts.bus import Bus, Unavailable, WrongSequence
from ops.broker import Settings as Server
from ops.broker import connected
from ops.streams import Settings, consumers, streams

SECRET_BYTES = 32
MONITOR_TIMEOUT_S = 5
GIVE_UP_S = 60
RETRY_PAUSE_S = 0.5

_NOT_YET = (None, 10004, 10005, 10008, 10009, 10118, 10119)
"""JetStream's errors of a cluster whose servers have not all met, or that has no leader; None for no responders."""


async def provision(broker: Bus, settings: Settings) -> None:
    """Bring the broker to the settings. The log comes first: the queue copies into it from its first message on.

    What gets no answer, or finds no leader, is tried again for up to `GIVE_UP_S`: brokers that have just started need a
    while. Raises `Unavailable` after that, and `APIError` at once if the broker refuses.
    """
    deadline = asyncio.get_running_loop().time() + GIVE_UP_S
    for config in streams(settings):
        await _insist(partial(_make_stream, broker, config), f"making {config.name}", deadline)
    for stream, config in consumers(settings):
        make = partial(broker.admin.add_consumer, stream, config)
        await _insist(make, f"making the consumer {config.durable_name} of {stream}", deadline)
    await _insist(partial(_make_secret, broker), "making the secret of idempotency keys", deadline)


async def _insist(request: Callable[[], Awaitable[object]], what: str, deadline: float) -> None:
    """Make a request until it is answered. Making a stream, a consumer or the secret twice changes nothing."""
    while True:
        try:
            await request()
        except APIError as error:
            if error.err_code not in _NOT_YET:
                raise
            problem: Exception = error
        except (nats.errors.Error, Unavailable, OSError) as error:
            problem = error
        else:
            return
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable(f"{what}: {problem}") from problem
        log.get().warning("provisioning_tried_again", what=what, error=str(problem))
        await asyncio.sleep(RETRY_PAUSE_S)


async def _make_secret(broker: Bus) -> None:
    with suppress(WrongSequence):  # made once, by whoever was first
        secret = secrets.token_bytes(SECRET_BYTES)
        await broker.put(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET, secret, revision=0)


async def _make_stream(broker: Bus, config: StreamConfig) -> None:
    try:
        await broker.admin.stream_info(config.name or "")
    except NotFoundError:
        await broker.admin.add_stream(config)
    else:
        await broker.admin.update_stream(config)


def undurable(monitor_urls: tuple[str, ...]) -> list[str]:
    """The servers that do not fsync before they acknowledge, or do not say so."""
    return [url for url in monitor_urls if not _syncs_always(url)]


def _syncs_always(url: str) -> bool:
    try:
        with urlopen(f"{url.rstrip('/')}/jsz", timeout=MONITOR_TIMEOUT_S) as answer:  # noqa: S310  # operator's URL
            return json.load(answer).get("config", {}).get("sync_always") is True
    except (OSError, ValueError):
        return False


async def main() -> None:
    settings = env.read(Settings)
    log.configure("provision")
    where = Server(nats_url=settings.nats_url, nats_creds=settings.nats_creds)
    async with connected(where, name="provision", within_s=GIVE_UP_S) as broker:
        doubtful = [] if settings.nats_durability_unchecked else undurable(settings.nats_monitor_urls)
        if doubtful:
            sys.exit(
                f"{', '.join(doubtful)}: no `sync_interval: always` to be seen, so an acknowledged job could be lost "
                "with the power. Set it, or NATS_MONITOR_URLS, or NATS_DURABILITY_UNCHECKED=1 to go on regardless."
            )
        try:
            await provision(broker, settings)
        except APIError as refusal:
            sys.exit(f"the broker refuses: {refusal.description} (code {refusal.err_code})")
        except Unavailable as error:
            sys.exit(f"the broker gave no answer for {GIVE_UP_S} s: {error}")
    log.get().info("provisioned", max_concurrent_tasks=settings.max_concurrent_tasks, ack_wait_s=settings.ack_wait)


if __name__ == "__main__":
    asyncio.run(main())
