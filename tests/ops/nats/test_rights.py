"""Who may do what on the broker: every user tries every subject, and the work of every other process."""

import re
from collections.abc import Iterable

import nats
import pytest
from nats.aio.msg import Msg

from contracts import inventory, subjects
from contracts.broker import Bus
from contracts.request_subjects import inboxes_of
from ops.nats.permissions import Permissions, permissions_of
from ops.nats.rights import (
    DURABLES,
    EDGE,
    INFERENCE,
    OPERATOR,
    PROVISION,
    STATE,
    STREAMS,
    SUBSCRIBER,
    SYSTEM,
    USERS,
    WEBHOOKS,
)
from ops.streams import Settings, streams
from tests.kit.broker import Broker
from tests.ops.nats.users import stored, user_of

ID = "f" * 32
KV = "$KV.video-"
API = "$JS.API"
LOG, QUEUE = subjects.EVENTS_STREAM, subjects.JOBS_STREAM

MAY_PUBLISH: dict[str, set[str]] = {
    f"video.jobs.default.{ID}": {EDGE},
    f"video.jobs.lost.{ID}": {STATE},
    f"video.events.{ID}.submitted": {STATE},
    f"video.events.{ID}.started": {INFERENCE},
    f"video.events.{ID}.step": {INFERENCE},
    f"video.events.{ID}.finished.succeeded": {INFERENCE, STATE},
    f"video.events.{ID}.finished.failed": {INFERENCE, STATE},
    f"video.events.{ID}.finished.cancelled": {EDGE, STATE},
    f"video.events.{ID}.finished.deleted": {EDGE, STATE},
    f"video.live.{ID}.finished.cancelled": set(),
    f"video.live.{ID}.step": set(),
    f"video.previews.{ID}": {INFERENCE},
    f"video.webhooks.due.{ID}": {WEBHOOKS},
    f"{KV}status.{ID}": {STATE},
    f"{KV}index.{ID}": set(),
    f"{KV}clusters.x": {INFERENCE},
    f"{KV}counters.events-set-aside": {STATE},
    f"{KV}secrets.idempotency": {PROVISION},
    f"{KV}repeats.x": {EDGE},
    f"{KV}tombstones.{ID}": {EDGE, STATE},
    f"{KV}deliveries.{ID}": {WEBHOOKS},
    f"{API}.DIRECT.GET.KV_video-secrets.{KV}secrets.idempotency": {EDGE, PROVISION},
    f"{API}.STREAM.MSG.GET.KV_video-secrets": {EDGE, PROVISION},
    f"{API}.CONSUMER.CREATE.KV_video-secrets": set(),
    f"{API}.STREAM.MSG.GET.{LOG}": {EDGE, STATE, WEBHOOKS, INFERENCE, OPERATOR},
    f"{API}.STREAM.MSG.DELETE.{QUEUE}": {EDGE, STATE},
    f"{API}.STREAM.MSG.DELETE.{LOG}": {STATE},
    f"{API}.STREAM.PURGE.{QUEUE}": set(),
    f"{API}.STREAM.PURGE.{LOG}": {STATE},
    f"{API}.STREAM.PURGE.KV_video-status": {STATE},
    f"{API}.STREAM.PURGE.KV_video-tombstones": set(),
    f"{API}.STREAM.CREATE.{LOG}": {PROVISION},
    f"{API}.STREAM.CREATE.ANOTHER": set(),
    f"{API}.STREAM.UPDATE.{QUEUE}": {PROVISION},
    f"{API}.STREAM.DELETE.{LOG}": set(),
    f"{API}.STREAM.SNAPSHOT.{LOG}": set(),
    f"{API}.STREAM.LEADER.STEPDOWN.{LOG}": set(),
    f"{API}.STREAM.PEER.REMOVE.{LOG}": set(),
    f"{API}.META.LEADER.STEPDOWN": set(),
    f"{API}.CONSUMER.MSG.NEXT.{QUEUE}.inference": {INFERENCE},
    f"{API}.CONSUMER.MSG.NEXT.{LOG}.state": {STATE},
    f"{API}.CONSUMER.MSG.NEXT.{LOG}.webhooks": {WEBHOOKS},
    f"{API}.CONSUMER.CREATE.{LOG}.follow-1": {STATE},
    f"{API}.CONSUMER.CREATE.{LOG}.webhooks": {PROVISION},
    f"{API}.CONSUMER.CREATE.{LOG}.state": {PROVISION},
    f"{API}.CONSUMER.CREATE.{LOG}": set(),
    f"{API}.CONSUMER.CREATE.{QUEUE}.inference": {PROVISION},
    f"{API}.CONSUMER.DELETE.{QUEUE}.inference": set(),
    f"{API}.CONSUMER.DELETE.{LOG}.state": set(),
    f"{API}.CONSUMER.DELETE.{LOG}.webhooks": set(),
    f"{API}.CONSUMER.RESET.{LOG}.state": {STATE},
    f"{API}.CONSUMER.PAUSE.{QUEUE}.inference": set(),
    f"$JS.ACK.{QUEUE}.inference.1.1.1.1.0": {INFERENCE},
    f"$JS.ACK.{LOG}.state.1.1.1.1.0": {STATE},
    f"$JS.ACK._.hash.{QUEUE}.inference.1.1.1.1.0": {INFERENCE},
    "$SRV.PING": {OPERATOR},
    "$SYS.REQ.SERVER.PING.JSZ": {SYSTEM},
    "$SYS.REQ.SERVER.PING.CONNZ": set(),
    "_INBOX_edge.x.1": set(),
    "_INBOX_operator.x.1": {EDGE, STATE, WEBHOOKS, INFERENCE},
    "anything": set(),
}
"""What is done by publishing, and by whom alone. Written by hand: a wrong entry in the table of rights shows here."""

MAY_SUBSCRIBE: dict[str, set[str]] = {
    ">": set(),
    "video.>": set(),
    "video.events.>": set(),
    "video.jobs.>": set(),
    "video.live.>": {EDGE, OPERATOR},
    "video.live.*.finished.*": {EDGE, OPERATOR, SUBSCRIBER},
    f"video.live.{ID}.finished.cancelled": {EDGE, INFERENCE, OPERATOR, SUBSCRIBER},
    f"video.live.{ID}.submitted": {EDGE, OPERATOR},
    "video.previews.*": {EDGE, OPERATOR},
    "$KV.>": set(),
    "$JS.>": set(),
    "$JS.API.>": set(),
    "$JS.EVENT.ADVISORY.>": {STATE, OPERATOR},
    "$SRV.PING": {EDGE, STATE, WEBHOOKS, INFERENCE},
    "$SRV.INFO.wanjet-edge": {EDGE},
    "$SRV.>": set(),
    "$SYS.>": set(),
    "_INBOX.>": set(),
    **{inboxes_of(user): {user} for user in USERS if user != SUBSCRIBER},
}
"""What is heard by subscribing, and by whom alone."""


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject of NATS, which may have wildcards itself, lies wholly within a pattern."""
    as_regex = r"\.".join(
        "[^.>]+" if token == "*" else re.escape(token) for token in pattern.removesuffix(".>").split(".")
    )
    below = r"\..+" if pattern.endswith(".>") else ""
    return pattern == ">" or re.fullmatch(as_regex + below, subject) is not None


def allowed(rights: Permissions, subject: str) -> bool:
    within = any(matches(pattern, subject) for pattern in rights.publish)
    return within and not any(matches(pattern, subject) for pattern in rights.denied)


def one_of(pattern: str) -> str:
    """A subject that the pattern matches."""
    return ".".join({"*": "one", ">": "some.more"}.get(token, token) for token in pattern.split("."))


def every_subject() -> Iterable[str]:
    """A subject of every pattern of the table, of all streams, and of every request about each stream and durable."""
    for user in USERS:
        yield from map(one_of, (*permissions_of(user).publish, *permissions_of(user).denied))
    for config in streams(Settings()):
        yield from map(one_of, config.subjects or ())
        for verb in ("CREATE", "UPDATE", "DELETE", "INFO", "PURGE", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE"):
            yield f"{API}.STREAM.{verb}.{config.name}"
        yield from (f"{API}.DIRECT.GET.{config.name}", f"{API}.CONSUMER.CREATE.{config.name}")
    for durable, pulling in DURABLES.items():
        for verb in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT", "PAUSE", "RESET", "UNPIN"):
            yield f"{API}.CONSUMER.{verb}.{pulling.stream}.{durable}"
        yield f"$JS.ACK.{pulling.stream}.{durable}.1.1.1.1.0"


def test_the_table_has_every_stream_bucket_and_durable() -> None:
    assert set(STREAMS) == set(inventory.STREAMS)
    assert set(DURABLES) == set(inventory.DURABLES)


def test_nobody_writes_where_no_stream_listens() -> None:
    for config in streams(Settings()):
        written = [pattern for of_user in STREAMS[config.name or ""].writers.values() for pattern in of_user]
        assert all(any(matches(own, one_of(each)) for own in config.subjects or ()) for each in written), config.name


@pytest.mark.parametrize("user", USERS)
async def test_the_broker_allows_of_every_subject_what_the_table_says(user: str, broker: Broker, link: Bus) -> None:
    every = sorted(set(every_subject()))
    assert len(every) > 200
    rights = permissions_of(user)
    async with user_of(broker, user) as tried:
        refused = await tried.refused(publish=every)
    assert refused == {subject for subject in every if not allowed(rights, subject)}


@pytest.mark.parametrize("user", USERS)
async def test_each_process_may_do_its_own_work_and_none_of_its_neighbours(
    user: str, broker: Broker, link: Bus
) -> None:
    async with user_of(broker, user) as tried:
        published = await tried.refused(publish=MAY_PUBLISH)
        subscribed = await tried.refused(subscribe=MAY_SUBSCRIBE)
    assert published == {subject for subject, users in MAY_PUBLISH.items() if user not in users}
    assert subscribed == {pattern for pattern, users in MAY_SUBSCRIBE.items() if user not in users}


FORGERIES = {
    f"video.events.{ID}.finished.succeeded": (LOG, {INFERENCE, STATE}),
    f"{KV}clusters.x": ("KV_video-clusters", {INFERENCE}),
    f"{KV}counters.events-set-aside": ("KV_video-counters", {STATE}),
    f"{KV}status.{ID}": ("KV_video-status", {STATE}),
}


@pytest.mark.parametrize("subject", FORGERIES)
async def test_what_an_attacker_would_forge_is_stored_for_nobody_else(subject: str, broker: Broker, link: Bus) -> None:
    stream, may = FORGERIES[subject]
    for user in USERS:
        if user not in may:
            async with user_of(broker, user) as tried:
                assert await tried.refused(publish=[subject]) == {subject}
    assert subject not in await stored(broker, stream)
    for user in may:  # so that the test would see it
        async with user_of(broker, user) as tried:
            assert await tried.refused(publish=[subject]) == set()
    assert subject in await stored(broker, stream)


async def test_nobody_makes_readers_of_live_events_believe_in_an_ending(broker: Broker, link: Bus) -> None:
    heard: list[str] = []

    async def on_message(message: Msg) -> None:
        heard.append(message.subject)

    forged, true = f"video.live.{ID}.finished.cancelled", f"video.live.{ID}.finished.failed"
    listener = await nats.connect(broker.url)
    try:
        await listener.subscribe("video.live.>", cb=on_message)
        await listener.flush()
        for user in USERS:
            async with user_of(broker, user) as tried:
                assert await tried.refused(publish=[forged]) == {forged}
        await link.publish(f"video.events.{ID}.finished.failed", b"", within_s=5)  # by the broker's own copy
        await listener.flush()
        assert heard == [true]
    finally:
        await listener.close()
