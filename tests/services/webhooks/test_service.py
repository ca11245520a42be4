import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook

from contracts import subjects, wire
from contracts.broker import Bus, Stored
from contracts.job_log import JobLog
from contracts.record import Record
from contracts.restore import restore
from contracts.stores import Folder
from ops.rebuild import rebuild
from services.webhooks.deliveries import Deliveries
from services.webhooks.enlist import Enlisting
from services.webhooks.schedule import GIVE_UP_AFTER_S, PAUSES_S
from tests.kit.broker import Broker
from tests.kit.builders import cancelled, failed, submitted, succeeded
from tests.kit.process import Process
from tests.kit.waiting import eventually
from tests.services.webhooks.jobs import (
    METADATA,
    SECRET,
    Service,
    delivery,
    end,
    job_id,
    nothing_left,
    over,
    submit,
    submit_and_end,
)
from tests.services.webhooks.targets import Loopback, says, status

FAST = {"WEBHOOK_PAUSES_SCALE": "0.01"}
DAY_SCALE = 0.0003

Start = Callable[..., Service]


def logged(service: Service, event: str) -> list[dict[str, Any]]:
    """The lines of the service's log with this event; the last may come a moment after what they tell."""
    return [line for line in service.lines if line["event"] == event]


async def test_an_ending_is_posted_once_signed_with_the_jobs_metadata(
    link: Bus, web: Loopback, services: Start
) -> None:
    target = await web.target(says(status(204)))
    service = services()
    job = await submit_and_end(link, 1, target.url)
    found = await over(link, job)
    assert found.state == "delivered"
    (request,) = target.requests
    body = Webhook(SECRET).verify(request.body, request.headers)
    assert (body["type"], body["requestId"], body["metadata"]) == ("JobSucceeded", job, METADATA)
    assert request.headers["webhook-id"] == found.webhook_id == f"{job}_succeeded"
    (once,) = found.tries
    assert (once.number, once.code, once.failure) == (1, 204, None)
    await eventually(lambda: nothing_left(link))
    (line,) = await eventually(lambda: logged(service, "webhook_delivered"))
    assert (line["job_id"], line["host"], line["number"], line["code"]) == (job, "127.0.0.2", 1, 204)


@pytest.mark.parametrize("ending", [failed(1, at=200.0), cancelled(at=200.0)])
async def test_every_kind_of_ending_is_posted(link: Bus, web: Loopback, services: Start, ending: object) -> None:
    target = await web.target(says(status(200)))
    services()
    await submit(link, 1, target.url)
    await end(link, 1, ending)  # pyright: ignore[reportArgumentType]
    await over(link, job_id(1))
    assert json.loads(target.requests[0].body)["type"] == type(ending).__name__


async def test_a_job_without_a_webhook_leaves_nothing(link: Bus, services: Start) -> None:
    services()
    job = await submit_and_end(link, 1, None)
    await eventually(lambda: nothing_left(link))
    assert await delivery(link, job) is None


async def test_a_job_without_a_webhook_costs_one_look(link: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    await submit_and_end(link, 1, None)
    ending = await link.pull(subjects.EVENTS_STREAM, subjects.WEBHOOKS_DURABLE, stop=asyncio.Event())
    assert ending is not None
    looks: list[str] = []
    last = link.last

    async def counted(stream: str, subject: str, **options: Any) -> Stored | None:
        looks.append(subject)
        return await last(stream, subject, **options)

    monkeypatch.setattr(link, "last", counted)
    await Enlisting(link, JobLog(link, "test"), Deliveries(link)).enlist(ending)
    assert looks == [subjects.submission_of(job_id(1))]


async def test_a_failed_try_is_made_again_under_the_same_id(link: Bus, web: Loopback, services: Start) -> None:
    target = await web.target(says(status(500), status(307, "Location: http://10.0.0.1/"), b"", status(200)))
    services(**FAST)
    job = await submit_and_end(link, 1, target.url)
    found = await over(link, job, within_s=30)
    tried = [(each.code, each.failure) for each in found.tries]
    assert tried == [(500, "status"), (307, "redirect"), (None, "no_http"), (200, None)]
    assert len({request.headers["webhook-id"] for request in target.requests}) == 1
    for request in target.requests:
        Webhook(SECRET).verify(request.body, request.headers)
    pauses = [after.at - before.at for before, after in pairwise(target.requests)]
    assert [pause >= 0.8 * 0.01 * meant for pause, meant in zip(pauses, PAUSES_S, strict=False)] == [True] * 3


async def test_410_ends_it(link: Bus, web: Loopback, services: Start) -> None:
    target = await web.target(says(status(410)))
    services(**FAST)
    job = await submit_and_end(link, 1, target.url)
    assert (await over(link, job)).state == "gone"
    await eventually(lambda: nothing_left(link))
    assert len(target.requests) == 1


async def test_after_a_day_of_failure_the_record_says_so(link: Bus, web: Loopback, services: Start) -> None:
    target = await web.target(says(status(503)))
    service = services(WEBHOOK_PAUSES_SCALE=str(DAY_SCALE))
    job = await submit_and_end(link, 1, target.url)
    found = await over(link, job, within_s=90)
    sys.stdout.write(f"\nwhat the record says after a day of failure, at {DAY_SCALE} of the pauses:\n")
    for each in found.tries:
        hours = (each.at - found.tries[0].at) / DAY_SCALE / 3600
        sys.stdout.write(f"  try {each.number:2}  after {hours:6.2f} h  {each.code} {each.failure}\n")
    assert (found.state, found.next_at) == ("given_up", None)
    assert {(each.code, each.failure) for each in found.tries} == {(503, "status")}
    assert 9 <= len(found.tries) <= len(PAUSES_S) + 3
    day_s = (found.tries[-1].at - found.tries[0].at) / DAY_SCALE
    assert day_s == pytest.approx(GIVE_UP_AFTER_S, rel=0.05)
    assert len(target.requests) == len(found.tries)
    await eventually(lambda: nothing_left(link))
    (line,) = await eventually(lambda: logged(service, "webhook_given_up"))
    assert line["tries"] == len(found.tries)


async def test_two_services_share_the_work_and_post_nothing_twice(link: Bus, web: Loopback, services: Start) -> None:
    targets = [await web.target(says(status(500), status(200))) for _ in range(10)]
    both = [services(**FAST), services(**FAST)]
    jobs = [await submit_and_end(link, number, targets[number % 10].url) for number in range(40)]
    for job in jobs:
        assert (await over(link, job, within_s=60)).state == "delivered"
    await eventually(lambda: nothing_left(link))
    posted = Counter(request.headers["webhook-id"] for target in targets for request in target.requests)
    recorded = {f"{job}_succeeded": len((await over(link, job)).tries) for job in jobs}
    assert dict(posted) == recorded
    await eventually(lambda: all(logged(service, "webhook_delivered") for service in both))


async def test_endings_wait_for_a_service_that_is_not_there(link: Bus, web: Loopback, services: Start) -> None:
    target = await web.target(says(status(200)))
    job = await submit_and_end(link, 1, target.url)
    services()
    assert (await over(link, job)).state == "delivered"


async def test_a_pending_try_survives_the_broker_and_the_service(
    link: Bus, broker: Broker, web: Loopback, services: Start
) -> None:
    target = await web.target(says(status(500), status(200)))
    service = services(WEBHOOK_PAUSES_SCALE="0.5")
    job = await submit_and_end(link, 1, target.url)
    await eventually(lambda: len(target.requests) == 1)
    await eventually(lambda: _tried(link, job))
    service.kill()
    broker.kill()
    broker.start()
    services()
    found = await over(link, job, within_s=30)
    assert [each.code for each in found.tries] == [500, 200]


async def _tried(link: Bus, job: str) -> bool:
    found = await delivery(link, job)
    return found is not None and bool(found.tries) and await _is_scheduled(link, job)


async def _is_scheduled(link: Bus, job: str) -> bool:
    return await link.last(subjects.WEBHOOKS_STREAM, subjects.webhook_scheduled(job)) is not None


async def test_a_replay_sends_nothing_again(
    link: Bus, broker: Broker, web: Loopback, services: Start, tmp_path: Path
) -> None:
    target = await web.target(says(status(200)))
    services()
    state = Process(
        ["-m", "services.state"],
        tmp_path / "state.log",
        **broker.environment,
        VIDEO_STORE_URL=str(tmp_path / "videos"),
        SCRATCH_STORE_URL=str(tmp_path / "scratch"),
    ).start()
    try:
        job = await submit_and_end(link, 1, target.url)
        await over(link, job)
        replayed = Process(["-m", "ops.replay"], tmp_path / "replay.log", **broker.environment)
        assert await asyncio.to_thread(replayed.run, 60) == 0
        other = await submit_and_end(link, 2, target.url)
        await over(link, other)
    finally:
        state.stop()
    assert [json.loads(request.body)["requestId"] for request in target.requests] == [job, other]


async def test_a_rebuild_sends_nothing_and_a_new_job_is_sent(
    link: Bus, web: Loopback, services: Start, tmp_path: Path
) -> None:
    target = await web.target(says(status(200)))
    service = services()
    videos = Folder(tmp_path / "videos")
    for number in range(3):
        old = _record(number, target.url)
        await videos.write(f"{old.ending.job_id}.json", wire.encode_record(old))
    assert (await rebuild(link, videos)).restored == 3
    new = await submit_and_end(link, 9, target.url)
    await over(link, new)
    await eventually(lambda: nothing_left(link))
    assert [json.loads(request.body)["requestId"] for request in target.requests] == [new]
    await eventually(lambda: len(logged(service, "webhook_not_sent")) >= 3)
    assert [line["why"] for line in logged(service, "webhook_not_sent")] == ["the ending came back from a record"] * 3
    assert await delivery(link, job_id(0)) is None


async def test_an_ending_that_comes_back_amid_its_delivery_does_not_stop_it(
    link: Bus, web: Loopback, services: Start
) -> None:
    target = await web.target(says(status(500), status(200)))
    service = services(WEBHOOK_PAUSES_SCALE="0.3")
    job = await submit_and_end(link, 1, target.url)
    await eventually(lambda: _tried(link, job))
    service.kill()
    ending = await JobLog(link, "test").stored_ending(job)
    assert ending is not None
    await link.delete(subjects.EVENTS_STREAM, ending.sequence)
    assert await restore(JobLog(link, "test"), _record(1, target.url))
    services()
    assert (await over(link, job, within_s=30)).state == "delivered"


def _record(number: int, url: str) -> Record:
    job = job_id(number)
    return Record(
        submitted=replace(submitted(), job_id=job, webhook_url=url),
        ending=replace(succeeded(1, at=200.0), job_id=job),
    )


async def test_a_job_that_the_log_has_forgotten_is_not_sent(link: Bus, web: Loopback, services: Start) -> None:
    target = await web.target(says(status(500), status(200)))
    service = services(WEBHOOK_PAUSES_SCALE="0.1")
    job = await submit_and_end(link, 1, target.url)
    await eventually(lambda: _tried(link, job))
    await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.events_of(job))
    assert (await over(link, job)).state == "given_up"
    await eventually(lambda: nothing_left(link))
    assert len(target.requests) == 1
    assert "the log has forgotten the job" in service.text


async def test_a_delivery_that_was_removed_does_not_come_back(link: Bus, web: Loopback, services: Start) -> None:
    target = await web.target(says(status(500), status(200)))
    services(WEBHOOK_PAUSES_SCALE="0.1")
    job = await submit_and_end(link, 1, target.url)
    await eventually(lambda: _tried(link, job))
    await link.put_last(subjects.DELIVERIES_BUCKET, job, b"")
    await eventually(lambda: nothing_left(link))
    assert (await delivery(link, job), len(target.requests)) == (None, 1)


async def test_of_a_job_that_is_deleted_nothing_is_sent_and_nothing_stays(
    link: Bus, web: Loopback, services: Start
) -> None:
    target = await web.target(says(status(500), status(200)))
    services()
    job = await submit_and_end(link, 1, target.url)
    await eventually(lambda: _tried(link, job))
    await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.events_of(job))
    await link.publish(f"video.events.{job}.finished.deleted", b'{"type": "JobDeleted"}', within_s=2)
    await eventually(lambda: nothing_left(link))
    assert (await delivery(link, job), len(target.requests)) == (None, 1)


async def test_an_ending_that_cannot_be_read_is_not_sent_and_holds_nothing_up(
    link: Bus, web: Loopback, services: Start
) -> None:
    target = await web.target(says(status(200)))
    services()
    await submit(link, 1, target.url)
    for kind in ("deleted", "succeeded"):
        await link.publish(
            f"video.events.{job_id(1)}.finished.{kind}", b'{"type": "JobDeleted"}', message_id="odd1", within_s=2
        )
    await link.publish("video.events.nonsense.finished.x", b"\xff", message_id="odd2", within_s=2)
    job = await submit_and_end(link, 2, target.url)
    await over(link, job)
    await eventually(lambda: nothing_left(link))
    assert (await delivery(link, job_id(1)), len(target.requests)) == (None, 1)
