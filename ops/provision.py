"""Creates and corrects every stream, bucket and durable of the broker: `python -m ops.provision` (`just provision`).

It is idempotent, and the only process that creates streams. A changed `MAX_CONCURRENT_TASKS` is applied to the live
stream; jobs above a lowered limit stay and drain. With `--watch` it stays, and creates again what vanishes, as when a
broker comes back with an empty disk. It then corrects nothing, so that a limit which was changed meanwhile stays.
"""

import asyncio
import math
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import nats.errors
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import APIError, NotFoundError

from contracts import subjects
from contracts.broker import Bus, Unavailable, WrongSequence
from contracts.process import env, lifetime, log, start
from contracts.process.env import BadSetting
from ops.broker import connected
from ops.durability import check_server
from ops.refusals import Denied, check_rights, sentence
from ops.streams import Settings, consumers, streams

SECRET_BYTES = 32
GIVE_UP_S = 60
RETRY_PAUSE_S = 0.5
RETRY_PAUSE_S_MAX = 10.0
WATCH_EVERY_S = 2.0
INFO_WITHIN_S = 2.0
WATCH = "--watch"

_NOT_YET = (None, 10004, 10005, 10008, 10009, 10118, 10119)
"""JetStream's error codes of a cluster that is still forming or has no leader; None stands for no responders."""


async def provision(broker: Bus, settings: Settings) -> None:
    """Create or update every stream, durable and secret. The log is first: the queue copies each message into it.

    A request without an answer, or without a leader, is repeated for up to `GIVE_UP_S`: brokers that have just started
    need a while. If a stream is gone that was just made, as the broker has lost its disk, all is made anew. Raises
    `Unavailable` after that, `Denied` if the user lacks a right, and `APIError` at once if the broker refuses.
    """
    deadline = asyncio.get_running_loop().time() + GIVE_UP_S
    while True:
        try:
            await _make_all(broker, settings, deadline)
        except NotFoundError as gone:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            log.get().warning("provisioning_tried_again", what="all", error=str(gone))
            await asyncio.sleep(RETRY_PAUSE_S)
        else:
            return


async def _make_all(broker: Bus, settings: Settings, deadline: float) -> None:
    """Create or update what `provision` names, until the `deadline` in the loop's time. Raises as `provision` does."""
    for config in streams(settings):
        await _insist(broker, partial(_make_stream, broker, config), f"making {config.name}", deadline)
    for stream, config in consumers(settings):
        make = partial(broker.admin.add_consumer, stream, config)
        await _insist(broker, make, f"making the consumer {config.durable_name} of {stream}", deadline)
    await _insist(broker, partial(_make_secret, broker), "making the secret of idempotency keys", deadline)


async def _insist(broker: Bus, request: Callable[[], Awaitable[object]], what: str, deadline: float) -> None:
    """Repeat a request with growing pauses until it is answered. The request must be idempotent.

    `what` names the request in errors and logs; `deadline` is in the loop's time. Raises as `provision` does.
    """
    pause_s, logged = RETRY_PAUSE_S, ""
    while True:
        try:
            await request()
        except APIError as error:
            if error.err_code not in _NOT_YET:
                error.description = f"{error.description}, {what}"
                raise
            problem: Exception = error
        except (nats.errors.Error, Unavailable, OSError) as error:
            problem = error
        else:
            return
        check_rights(broker, what)
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable(f"{what}: {problem}") from problem
        if str(problem) != logged:
            log.get().warning("provisioning_tried_again", what=what, error=str(problem))
        logged = str(problem)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_PAUSE_S_MAX)


async def _make_secret(broker: Bus) -> None:
    """Store a random secret for idempotency keys, unless the bucket has one. Raises `Unavailable`."""
    with suppress(WrongSequence):  # the first process to write it has made it (compare-and-set)
        secret = secrets.token_bytes(SECRET_BYTES)
        await broker.put(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET, secret, revision=0)


async def _make_stream(broker: Bus, config: StreamConfig) -> None:
    """Create the stream, or update it if it exists; log a changed limit of the queue. Raises `APIError` if refused."""
    try:
        there = await broker.admin.stream_info(config.name or "")
    except NotFoundError:
        await broker.admin.add_stream(config)
    else:
        await broker.admin.update_stream(config)
        if there.config.max_msgs != config.max_msgs and config.name == subjects.JOBS_STREAM:
            log.get().warning("limit_changed", max_concurrent_tasks=config.max_msgs, was=there.config.max_msgs)


async def vanished(broker: Bus, settings: Settings) -> list[str]:
    """Return missing streams, and durables missing from other streams. Raises `Unavailable` if the broker is away."""
    names = [config.name or "" for config in streams(settings)]
    missing = [name for name in names if not await _is_there(partial(broker.stream, name, within_s=INFO_WITHIN_S))]
    durables: list[tuple[str, ConsumerConfig]] = [each for each in consumers(settings) if each[0] not in missing]
    for stream, config in durables:
        if not await _is_there(partial(broker.consumer, stream, config.durable_name or "")):
            missing.append(config.durable_name or "")
    return missing


async def _is_there(look: Callable[[], Awaitable[object]]) -> bool:
    """Return False if `look` raises `NotFoundError`, else True; its other errors rise."""
    try:
        await look()
    except NotFoundError:
        return False
    return True


async def make_again(broker: Bus, settings: Settings, missing: list[str]) -> None:
    """Create what `vanished` returned, and the secret if its bucket is among that. Raises as `provision` does.

    A vanished stream lost its durables, so these are made too. A stream that is back meanwhile is updated.
    """
    deadline = asyncio.get_running_loop().time() + GIVE_UP_S
    for config in streams(settings):
        if config.name in missing:
            await _insist(broker, partial(_make_stream, broker, config), f"making {config.name}", deadline)
    for stream, config in consumers(settings):
        if stream in missing or config.durable_name in missing:
            make = partial(broker.admin.add_consumer, stream, config)
            await _insist(broker, make, f"making the consumer {config.durable_name} of {stream}", deadline)
    if subjects.bucket_stream(subjects.SECRETS_BUCKET) in missing:
        await _insist(broker, partial(_make_secret, broker), "making the secret of idempotency keys", deadline)


async def watch(broker: Bus, settings: Settings, stop: asyncio.Event) -> None:
    """Create again what vanishes, until `stop`. A failure is logged once for each reason, and retried with backoff."""
    pause_s, logged = WATCH_EVERY_S, ""
    while not stop.is_set():
        try:
            if missing := await vanished(broker, settings):
                log.get().warning("streams_vanished", missing=missing)
                await make_again(broker, settings, missing)
                log.get().info("provisioned_again", max_concurrent_tasks=settings.max_concurrent_tasks)
        except (APIError, Unavailable, Denied, nats.errors.Error, OSError) as error:
            if str(error) != logged:
                log.get().warning("watch_put_off", error=sentence(error))
            pause_s, logged = min(2 * pause_s, RETRY_PAUSE_S_MAX), str(error)
        else:
            pause_s, logged = WATCH_EVERY_S, ""
        await lifetime.wait_until_set(stop, within_s=pause_s)


async def main(*, watching: bool) -> None:
    """Provision the broker; with `watching` stay until SIGINT or SIGTERM. Ends the process if no broker answers.

    Raises `BadSetting` if the broker refuses or is unsuitable.
    """
    settings = env.read(Settings)
    start.configure("provision", own_stdout=True)
    stop = lifetime.stop_on_signals()
    async with connected(settings, name="provision", within_s=math.inf if watching else GIVE_UP_S, stop=stop) as broker:
        if stop.is_set():
            return
        await check_server(broker, settings)
        try:
            await provision(broker, settings)
        except (APIError, Denied) as refusal:
            raise BadSetting(sentence(refusal)) from refusal
        except Unavailable as error:
            sys.exit(f"the broker gave no answer for {GIVE_UP_S} s: {error}")
        log.get().info("provisioned", max_concurrent_tasks=settings.max_concurrent_tasks, ack_wait_s=settings.ack_wait)
        if watching:
            await watch(broker, settings, stop)


if __name__ == "__main__":
    with start.refusing("provision"):
        asyncio.run(main(watching=WATCH in sys.argv[1:]))
