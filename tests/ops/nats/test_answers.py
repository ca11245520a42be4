"""Answers of the broker that a stolen key sends where the log keeps them: nats-server lets all but a subscriber do so.

What follows from it: no status tells of it, a well-formed ending of the same job included, and the job goes on.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Stored, Unavailable, bus
from contracts.events import EndingUnknown, Event
from contracts.job_log import JobLog
from contracts.process.broker_settings import seed_file
from contracts.stores import Folder
from ops.nats.rights import (
    EDGE,
    INFERENCE,
    OPERATOR,
    PROVISION,
    STATE,
    SUBSCRIBER,
    SYSTEM,
    USERS,
    WEBHOOKS,
)
from services.state.materialise import materialise
from services.state.own_numbers import StateNumbers
from services.state.reconcile import reconcile
from services.state.records import Records
from tests.kit.broker import Broker, all_folded
from tests.kit.builders import ID, failed, started, submitted, succeeded
from tests.kit.edge import Edge, post, submit
from tests.kit.waiting import eventually
from tests.ops.nats.users import stored, user_of

OTHER, THIRD = "e" * 32, "d" * 32
LOG = subjects.EVENTS_STREAM
RETENTION_S = 3600.0
NOW = time.time()
ENDING = f"video.events.{ID}.finished.succeeded"
ASKED = "$JS.API.STREAM.INFO."
READ_OUT = "$JS.API.DIRECT.GET"
REQUESTS: dict[str, str] = {
    EDGE: ASKED + subjects.JOBS_STREAM,
    STATE: ASKED + subjects.JOBS_STREAM,
    WEBHOOKS: ASKED + subjects.WEBHOOKS_STREAM,
    INFERENCE: ASKED + LOG,
    PROVISION: ASKED + subjects.JOBS_STREAM,
    OPERATOR: ASKED + subjects.CANARY_STREAM,
    SUBSCRIBER: ASKED + LOG,
    SYSTEM: "$SYS.REQ.SERVER.PING.JSZ",
}
"""A request of each user that the broker answers, if it may ask anything of our account."""
CHOSEN = {
    EDGE: (subjects.bucket_stream(subjects.TOMBSTONES_BUCKET), subjects.bucket_key(subjects.TOMBSTONES_BUCKET, "x")),
    WEBHOOKS: (
        subjects.bucket_stream(subjects.DELIVERIES_BUCKET),
        subjects.bucket_key(subjects.DELIVERIES_BUCKET, "x"),
    ),
    PROVISION: (subjects.bucket_stream(subjects.SECRETS_BUCKET), subjects.bucket_key(subjects.SECRETS_BUCKET, "x")),
    INFERENCE: (subjects.bucket_stream(subjects.CLUSTERS_BUCKET), subjects.bucket_key(subjects.CLUSTERS_BUCKET, "x")),
}
"""Where a user may write anything, and read it out again: so that the answer holds what it likes."""


async def misdirect(broker: Broker, user: str, request: str, into: str, body: bytes = b"") -> None:
    """As a user, ask the broker something, and want the answer on a subject of a stream."""
    async with user_of(broker, user) as thief:
        await thief.client.publish(request, body, reply=into)
        for _ in range(2):
            await thief.client.flush()


@asynccontextmanager
async def storing(broker: Broker, into: str) -> AsyncGenerator[None, None]:
    """Leave the block once a further message is stored on a subject of the log, or as an entry of a bucket."""
    stream = LOG if subjects.is_ending(into) else subjects.bucket_stream(into.split(".")[1])
    async with bus.connect(broker.url, name="witness") as witness:
        before = await witness.last(stream, into)

        async def is_stored() -> bool:
            last = await witness.last(stream, into)
            return last is not None and (before is None or last.sequence > before.sequence)

        yield
        await eventually(is_stored)


async def forge(broker: Broker, user: str, into: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
    """As a user, write a payload where it may, and have it read out into a subject of the log."""
    stream, key = CHOSEN[user]
    async with storing(broker, into), user_of(broker, user) as thief:
        async with storing(broker, key):
            await thief.client.publish(key, payload, headers=headers)
        await thief.client.publish(f"{READ_OUT}.{stream}.{key}", b"", reply=into)
        for _ in range(2):
            await thief.client.flush()


async def ends_of(link: Bus, job_id: str) -> int:
    """Return how many messages the log holds on subjects of a job's endings."""
    return len(await link.read(LOG, subjects.endings_of(job_id)))


@pytest.mark.parametrize("user", USERS)
async def test_who_may_ask_the_broker_can_have_an_answer_stored_as_an_ending_and_a_subscriber_cannot(
    user: str, broker: Broker, link: Bus
) -> None:
    await misdirect(broker, user, REQUESTS[user], ENDING)
    if user in (SUBSCRIBER, SYSTEM):  # the one may not ask, the other is in an account without streams
        assert await stored(broker, LOG) == {}
    else:
        await eventually(lambda: ends_of(link, ID))
        (found,) = await link.read(LOG, subjects.endings_of(ID))
        assert wire.ending_in(found) == EndingUnknown(job_id=ID, at=found.at)


async def test_of_what_the_broker_reads_out_no_ending_of_another_job_is_stored(broker: Broker, link: Bus) -> None:
    """Its own headers are those of its publisher, which the broker obeys: it knows the id, and expects no ending."""
    log = JobLog(link, "rank-0")
    theirs = replace(succeeded(1, 1.0), job_id=OTHER)
    assert await log.publish_ending(theirs) == theirs
    subject = subjects.event(theirs)
    await misdirect(broker, OPERATOR, f"{READ_OUT}.{LOG}.{subject}", ENDING)
    await misdirect(broker, OPERATOR, f"{READ_OUT}.{LOG}", ENDING, json.dumps({"last_by_subj": subject}).encode())
    assert await ends_of(link, ID) == 0
    await link.publish(subject, wire.encode(theirs), within_s=2)  # such a one without headers would be
    await misdirect(broker, OPERATOR, f"{READ_OUT}.{LOG}.{subject}", ENDING)
    await eventually(lambda: ends_of(link, ID))
    assert await log.ending(ID) is None


MISPLACED: dict[str, tuple[str, Event]] = {
    "another job": (ENDING, replace(succeeded(1, 1.0), job_id=OTHER)),
    "another kind of ending": (f"video.events.{ID}.finished.cancelled", succeeded(1, 1.0)),
    "no ending": (ENDING, submitted()),
    "an ending where none belongs": (f"video.events.{ID}.step", succeeded(1, 1.0)),
}


@pytest.mark.parametrize("why", MISPLACED)
def test_an_event_counts_on_its_own_subject_alone(why: str) -> None:
    subject, event = MISPLACED[why]
    message = Stored(subject, 7, wire.encode(event), 5.0)
    with pytest.raises(wire.Undecodable):
        wire.event_in(message)
    if subjects.is_ending(subject):
        assert isinstance(wire.ending_in(message), EndingUnknown)
        assert list(wire.readable_events([message])) == [EndingUnknown(job_id=ID, at=5.0)]
    else:
        assert list(wire.readable_events([message])) == []


@asynccontextmanager
async def state(broker: Broker) -> AsyncGenerator[None, None]:
    """The folding of a state service, as its own user of the broker; what is in the log is folded at the end."""
    stop = asyncio.Event()
    creds = str(seed_file(broker.keys, STATE))
    async with bus.connect(broker.address, name=STATE, creds=creds) as link:
        log = JobLog(link, "state")
        records = Records(log, Folder(Path("/proc/nowhere")))
        folding = materialise(link, log, records, StateNumbers(), retention_s=RETENTION_S, stop=stop)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(folding)
            yield
            stop.set()


async def status(link: Bus) -> str | None:
    found = await link.get(subjects.STATUS_BUCKET, ID)
    return None if found is None else wire.decode_status(found.data).status


async def misdirected(broker: Broker, user: str, into: str = ENDING) -> None:
    """Have an answer sent to the ending of a job, and see it stored."""
    async with storing(broker, into):
        await misdirect(broker, user, REQUESTS[user], into)


def a_success() -> bytes:
    """Return a success of the job, as a cluster would have published it."""
    return wire.encode(succeeded(1, NOW))


@pytest.mark.parametrize("user", CHOSEN)
@pytest.mark.parametrize("headers", [None, {"Nats-Msg-Id": "forged", "ce-id": "forged"}], ids=["bare", "dressed up"])
async def test_a_wellformed_success_that_is_read_out_into_the_log_is_deleted_and_the_job_goes_on(
    user: str, headers: dict[str, str] | None, broker: Broker, link: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    log = JobLog(link, "rank-0")
    await log.append(submitted(NOW))
    await log.append(started(1, NOW))
    await forge(broker, user, ENDING, a_success(), headers)
    async with state(broker):
        await eventually(lambda: all_folded(link))
        assert await ends_of(link, ID) == 0
        assert await status(link) == "InProgress"
        own = failed(1, NOW)
        assert await log.publish_ending(own) == own
        await eventually(lambda: all_folded(link))
    assert await status(link) == "Failed"
    said = capsys.readouterr().out
    assert said.count("event_set_aside") == said.count("an answer of the broker") == 1
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 1


@pytest.mark.parametrize("user", [user for user in USERS if user not in (SUBSCRIBER, SYSTEM)])
async def test_any_other_answer_is_deleted_too_while_the_state_service_runs(
    user: str, broker: Broker, link: Bus
) -> None:
    log = JobLog(link, "rank-0")
    await log.append(submitted(NOW))
    async with state(broker):
        for into in (ENDING, f"video.events.{ID}.finished.deleted", f"video.events.{ID}.step"):
            await misdirect(broker, user, REQUESTS[user], into)
        await eventually(lambda: counted(link, 3))
        assert [stored.subject for stored in await link.read(LOG, f"video.events.{ID}.>")] == [
            subjects.submission_of(ID)
        ]
    assert await status(link) == "InQueue"


async def counted(link: Bus, count: int) -> bool:
    """Return whether so many messages were set aside, and all of the log is folded."""
    return await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == count and await all_folded(link)


async def test_an_answer_after_a_jobs_own_ending_changes_nothing(broker: Broker, link: Bus) -> None:
    log, own = JobLog(link, "rank-0"), failed(1, NOW)
    await log.append(submitted(NOW))
    await log.publish_ending(own)
    await forge(broker, EDGE, ENDING, a_success())
    assert await ends_of(link, ID) == 2
    async with state(broker):
        await eventually(lambda: all_folded(link))
    assert await status(link) == "Failed"
    assert await log.ending(ID) == own


async def test_what_the_broker_copies_from_the_queue_is_no_answer(broker: Broker, link: Bus) -> None:
    log = JobLog(link, "edge")
    async with state(broker):
        assert await log.queue.add(submitted(NOW), within_s=5)
        await eventually(lambda: status_is(link, "InQueue"))
        await eventually(lambda: all_folded(link))
    assert await log.stored_submission(ID) is not None
    assert await link.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE) == 0


async def status_is(link: Bus, wanted: str) -> bool:
    return await status(link) == wanted


async def test_a_cluster_takes_no_answer_for_an_ending_and_waits_with_its_own_until_it_is_gone(
    broker: Broker, link: Bus
) -> None:
    log, own = JobLog(link, "rank-0"), failed(1, NOW)
    await log.append(submitted(NOW))
    for misdirecting in (misdirected(broker, OPERATOR), forge(broker, EDGE, ENDING, a_success())):
        await misdirecting
        assert await log.ending(ID) is None
        assert await log.stored_ending(ID, leader=False) is None
    with pytest.raises(Unavailable):
        await log.publish_ending(own, within_s=1)
    ending = asyncio.create_task(log.publish_ending(own))
    async with state(broker):
        assert await ending == own
        await eventually(lambda: all_folded(link))
    assert await status(link) == "Failed"
    assert await log.ending(ID) == own


async def test_a_job_that_was_taken_out_of_the_queue_for_an_answer_comes_back(broker: Broker, link: Bus) -> None:
    log, records = JobLog(link, "state"), Records(JobLog(link, "state"), Folder(Path("/proc/nowhere")))
    assert await log.queue.add(submitted(NOW), within_s=5)
    await eventually(lambda: log.stored_submission(ID))
    await misdirected(broker, OPERATOR)
    await reconcile(log, records)
    assert await log.queue.find(ID) is None
    async with state(broker):
        await eventually(lambda: all_folded(link))
    await reconcile(log, records)
    assert await log.queue.find(ID) is not None


async def test_an_edge_shows_no_success_for_any_answer(broker: Broker, link: Bus, tmp_path: Path) -> None:
    edge = Edge(tmp_path, broker)
    edge.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as client:
            await edge.ready(client)
            code, accepted = await submit(client, edge)
            assert code == 202
            job_id = accepted["requestId"]
            success = wire.encode(replace(succeeded(1, NOW), job_id=job_id))
            into = f"video.events.{job_id}.finished.succeeded"
            for misdirecting in (
                misdirected(broker, OPERATOR, into),
                forge(broker, WEBHOOKS, into, success),
            ):
                await misdirecting
                told = await post(client, f"{edge.url}/video/status", accepted)
                assert (told[0], told[1]["status"]) == (200, "InQueue")
                async with client.get(f"{edge.url}/videos/{job_id}.mp4") as answer:
                    assert answer.status == 404
            async with state(broker):
                await eventually(lambda: all_folded(link))
                assert (await post(client, f"{edge.url}/video/cancel", accepted))[0] == 200
    finally:
        assert edge.stop() == 0, edge.text


@pytest.mark.parametrize("user", [WEBHOOKS, OPERATOR])
async def test_buckets_are_not_guarded_and_only_the_operator_cannot_choose_what_is_put_there(
    user: str, broker: Broker, link: Bus
) -> None:
    """As SECURITY.md says: so a stolen key of a process is as bad as one of provisioning, who makes API keys."""
    key = subjects.bucket_key(subjects.KEYS_BUCKET, subjects.key_entry("abcdefgh"))
    if user in CHOSEN:
        await forge(broker, user, key, b"an API key")
    else:
        await misdirected(broker, user, key)
    (found,) = await link.read(subjects.bucket_stream(subjects.KEYS_BUCKET), key)
    assert (found.data == b"an API key") is (user in CHOSEN)
