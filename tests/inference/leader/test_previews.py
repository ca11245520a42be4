"""Previews on their way: to whoever listens now, and at nobody's cost."""

import asyncio
import base64
import io
import signal

import numpy as np
import pytest
from PIL import Image

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.preview import PREVIEW_BYTES_MAX, WEBP_URL, Preview
from inference.leader import bridge as bridges
from inference.leader.bridge import PREVIEW_EVERY_STEPS, ThreadBridge
from inference.leader.leave_reason import LeaveReason
from inference.leader.outbox import Outbox
from inference.leader.previews import preview_of
from inference.ranks.commands import Run
from inference.ranks.worker import Outcome
from inference.wan.generate import Picture
from tests.inference.leader.scripted import RankZero, generate
from tests.kit.broker import Broker
from tests.kit.builders import ID
from tests.kit.waiting import eventually

SOCKETS_BYTES_MAX = 32 * 1024 * 1024
PICTURE: Picture = np.full((18, 32, 3), (200, 40, 90), dtype=np.uint8)


async def heard_on(link: Bus) -> list[Preview]:
    """Return a list that fills with the previews that are published from now on."""
    heard: list[Preview] = []

    async def hear(subject: str, payload: bytes) -> None:
        preview = wire.decode_preview(payload)
        assert subject == subjects.previews_of(preview.job_id)
        heard.append(preview)

    await link.listen(subjects.ALL_PREVIEWS, hear)
    return heard


def show_and_generate(bridge: ThreadBridge, run: Run) -> Outcome:
    """Offer a preview after each step."""
    for step in range(1, run.job.infer_steps + 1):
        bridge.offer_preview(step, lambda: PICTURE)
        bridge.report_boundary("denoise", step)
    return generate(bridge, run)


async def test_a_running_job_shows_what_its_video_is_going_to_be(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridges, "PREVIEW_EVERY_S", 0.0)
    heard = await heard_on(rank_zero.link)
    runner = await rank_zero.run_next(show_and_generate)
    await eventually(lambda: heard)
    shown = heard[-1]
    assert (shown.job_id, shown.attempt, shown.steps) == (ID, 1, runner.attempt.job.infer_steps)
    assert shown.step % PREVIEW_EVERY_STEPS == 0
    picture = Image.open(io.BytesIO(base64.b64decode(shown.image.removeprefix(WEBP_URL))))
    assert (picture.format, picture.size, (shown.width, shown.height)) == ("WEBP", (32, 18), (32, 18))
    assert np.abs(np.asarray(picture.convert("RGB"), dtype=int) - PICTURE).max() < 12


async def test_no_preview_is_stored(rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridges, "PREVIEW_EVERY_S", 0.0)
    heard = await heard_on(rank_zero.link)
    await rank_zero.run_next(show_and_generate)
    await eventually(lambda: heard)
    streams = await rank_zero.link.admin.streams_info()
    covering = [each.config.name for each in streams if any("previews" in name for name in each.config.subjects or ())]
    assert streams
    assert covering == []
    assert not [event for event in await rank_zero.events() if isinstance(event, Preview)]


async def test_previews_are_made_every_few_steps_and_not_too_often() -> None:
    bridge, made = ThreadBridge(), list[int]()

    def offer(step: int) -> None:
        def make() -> None:
            made.append(step)

        bridge.offer_preview(step, make)

    for step in range(1, 9):
        offer(step)
    assert made == [PREVIEW_EVERY_STEPS], "the steps took no time"


async def test_of_several_previews_that_wait_the_latest_is_sent(rank_zero: RankZero) -> None:
    heard = await heard_on(rank_zero.link)
    attempt = await rank_zero.attempt()
    outbox = Outbox(attempt, rank_zero.lease(attempt), rank_zero.log, rank_zero.context.checkpoints, rank_zero.bridge)
    for step in (2, 4, 6):
        attempt.preview_ready(step, PICTURE)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.publish_previews())
        await eventually(lambda: heard)
        attempt.finish()
    assert [preview.step for preview in heard] == [6]


async def test_a_job_that_is_another_clusters_now_is_not_shown(rank_zero: RankZero) -> None:
    heard = await heard_on(rank_zero.link)
    attempt = await rank_zero.attempt()
    outbox = Outbox(attempt, rank_zero.lease(attempt), rank_zero.log, rank_zero.context.checkpoints, rank_zero.bridge)
    attempt.set_leave_reason(LeaveReason.TAKEN_OVER)
    attempt.preview_ready(2, PICTURE)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.publish_previews())
        await eventually(lambda: attempt.preview is None)
        attempt.finish()
    other = preview_of(PICTURE, job_id="f" * 32, attempt=1, step=1, steps=2)
    assert other is not None
    await rank_zero.log.show(other)
    await eventually(lambda: heard)
    assert [preview.job_id for preview in heard] == ["f" * 32]


def test_a_picture_that_is_too_large_for_a_message_is_not_shown() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    assert preview_of(noise, job_id=ID, attempt=1, step=2, steps=20) is None
    film = preview_of(PICTURE, job_id=ID, attempt=1, step=2, steps=20)
    assert film is not None
    assert wire.decode_preview(wire.encode(film)) == film


async def test_a_broker_that_reads_nothing_more_is_sent_no_more_than_fits_its_sockets(
    broker: Broker, link: Bus
) -> None:
    payload = bytes(PREVIEW_BYTES_MAX)
    broker.send(signal.SIGSTOP)
    try:
        sent = 0
        async with asyncio.timeout(20):
            while await link.publish_unstored("video.previews.x", payload):
                sent += 1
                await asyncio.sleep(0)
    finally:
        broker.send(signal.SIGCONT)
    assert sent * len(payload) < SOCKETS_BYTES_MAX
    await eventually(lambda: link.publish_unstored("video.previews.x", payload))


async def test_what_is_not_stored_is_dropped_rather_than_queued(broker: Broker, link: Bus) -> None:
    assert await link.publish_unstored("video.previews.x", b"1")
    broker.kill()
    await eventually(lambda: not link.connected)
    assert not await link.publish_unstored("video.previews.x", b"1")
