"""The fences of a job's log on one broker; `tests/chaos/soak/test_fences.py` tries them on three."""

import asyncio

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Expect, WrongSequence
from contracts.events import EndingUnknown, JobDeclined, JobStarted, SubmissionUnknown
from contracts.job_log import JobLog
from tests.kit.builders import ID, cancelled, failed, started, submitted, succeeded


async def test_the_first_ending_wins_and_the_second_publisher_is_told_so(link: Bus) -> None:
    first, second = cancelled(1.0), succeeded(1, 2.0)
    assert await JobLog(link, "edge").publish_ending(first) == first
    assert await JobLog(link, "rank").publish_ending(second) == first
    assert [stored.data for stored in await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID))] == [
        wire.encode(first)
    ]


async def test_an_ending_that_was_stored_by_an_earlier_try_is_the_publishers_own(link: Bus) -> None:
    ending = succeeded(1, 2.0)
    for _ in range(2):  # the second time as after a lost answer
        assert await JobLog(link, "rank").publish_ending(ending) == ending


async def test_two_cancellations_by_one_edge_end_the_job_once_and_both_say_cancelled(link: Bus) -> None:
    edge = JobLog(link, "edge")
    answers = await asyncio.gather(edge.publish_ending(cancelled(1.0)), edge.publish_ending(cancelled(2.0)))
    assert answers[0] == answers[1]
    assert len(await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID))) == 1


async def test_of_two_starts_after_the_same_one_only_one_is_taken(link: Bus) -> None:
    before = await link.publish(subjects.event(started(1, 1.0)), wire.encode(started(1, 1.0)), within_s=2)
    starts = [replace(started(2, 2.0), instance=instance) for instance in ("a", "b")]
    taken = await asyncio.gather(
        *(JobLog(link, start.instance).append(start, expect=Expect(before.sequence)) for start in starts)
    )
    assert sorted(taken) == [False, True]
    last = await JobLog(link, "c").stored_start(ID)
    assert last is not None
    assert last.data == wire.encode(starts[taken.index(True)])


async def test_a_duplicate_is_no_success_where_something_is_expected(link: Bus) -> None:
    """A clustered stream gives this answer to the loser of a race whose message id equals the winner's."""
    subject = subjects.event(failed(1, 1.0))
    published = await link.publish(subject, b"1", message_id="same", within_s=2)
    with pytest.raises(WrongSequence):
        await link.publish(subject, b"2", message_id="same", expect=Expect(published.sequence), within_s=2)
    again = await link.publish(subject, b"2", message_id="same", within_s=2)
    assert again.duplicate


@pytest.mark.parametrize("payload", [b"{", b'{"type":"JobExpired","requestId":"' + ID.encode() + b'","at":1.0}'])
async def test_an_ending_that_cannot_be_read_is_the_ending_that_the_job_has(link: Bus, payload: bytes) -> None:
    await link.publish(f"video.events.{ID}.finished.expired", payload, within_s=2)
    winner = await JobLog(link, "edge").publish_ending(cancelled(1.0))
    assert isinstance(winner, EndingUnknown)


async def test_a_submission_of_a_newer_version_is_known_for_one_and_garbage_is_not(link: Bus) -> None:
    newer = wire.encode(submitted()).replace(b'"unipc"', b'"a_newer_solver"')
    await link.publish(subjects.job(ID), newer, within_s=2)
    other = "f" * 32
    await link.publish(subjects.job(other), b"garbage", within_s=2)
    log = JobLog(link, "edge")
    assert [type(logged.event) for logged in await log.events(ID)] == [SubmissionUnknown]
    assert await log.events(other) == []
    head = await log.submission_head(ID)
    assert head is not None and head.job_id == ID
    with pytest.raises(wire.Undecodable):
        await log.submission(ID)


@pytest.mark.parametrize(
    ("old", "new", "unknown"),
    [
        (b'"seed":7', b'"seed":7,"camera_path":"orbit"', ["camera_path"]),
        (b'"created_at"', b'"owner":"a","created_at"', ["owner"]),
        (b'"seed":7', b'"seed":8', []),
    ],
)
def test_the_fields_that_a_version_does_not_know_are_named(old: bytes, new: bytes, unknown: list[str]) -> None:
    payload = wire.encode(submitted()).replace(old, new)
    assert payload != wire.encode(submitted())
    assert wire.unknown_fields(payload) == unknown


async def test_a_job_is_declined_once(link: Bus) -> None:
    log = JobLog(link, "old")
    declined = JobDeclined(job_id=ID, at=1.0, instance="old", unknown="camera_path")
    assert await log.declined_at(ID) is None
    assert await log.append(declined, expect=Expect(0))
    assert not await JobLog(link, "older").append(replace(declined, instance="older"), expect=Expect(0))
    stored_at = await log.declined_at(ID)
    assert stored_at is not None
    assert 0 <= await log.now() - stored_at < 60


async def test_events_come_with_the_brokers_stamp_whatever_the_publishers_clock(link: Bus) -> None:
    log = JobLog(link, "rank")
    before = await link.now()
    await log.append(started(1, 4_000_000_000.0))
    (logged,) = await log.events(ID)
    assert isinstance(logged.event, JobStarted)
    assert before - 1 < logged.at < before + 60
