"""Reads log, bucket, stores, queue and what HTTP answers, and judges whether a job came out as it must."""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.events import Ending, JobStarted, JobSubmitted, JobSucceeded
from contracts.fold import fold_all
from contracts.job import job_id_in
from contracts.record import record_name
from contracts.status import JobStatus
from contracts.video_files import picture_names
from inference.leader.mp4 import read_video_facts
from tests.chaos.faults.service import BOUND_S, JOB, LEFTOVER_S, Doubled, Lost, Service
from tests.kit.edge import post
from tests.kit.waiting import eventually

DENIED = "right_denied"
LASTING = ("edge", "state", "broker", "rank 0")


async def check(service: Service, job_id: str, *, made: str | None, endings: Sequence[str] = ("Succeed",)) -> JobStatus:
    """The job has ended in one of these ways, once, and everything agrees on it.

    `made` is the SHA-256 of the video that a job which nothing happens to has: it is the same one, bit for bit.
    """
    status = await service.ended(job_id)
    assert status.status in endings, (status.status, status.reason)
    async with service.link() as link:
        await eventually(lambda: _left_the_queue(service, job_id), within_s=BOUND_S)
        await eventually(lambda: link.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id)), within_s=BOUND_S)
        log = await service.log(link, job_id)
    ended = [event for event in log if isinstance(event, Ending)]
    if len(ended) != 1 or sum(isinstance(event, JobSubmitted) for event in log) != 1:
        raise Doubled(f"{len(ended)} endings of {len(log)} events")
    numbers = [event.attempt for event in log if isinstance(event, JobStarted)]
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    await _status_is(service, job_id, fold_all(log))
    record = service.videos / record_name(ended[0])
    await eventually(record.exists, within_s=BOUND_S)
    assert wire.decode_record(record.read_bytes()).ending == ended[0], "the record tells another story"
    if isinstance(ended[0], JobSucceeded):
        await _check_video(service, ended[0], made)
        if made is not None:  # else the store may have had no room for them
            assert all((service.videos / name).exists() for name in picture_names(job_id)), "its pictures are missing"
    else:
        assert await service.get(f"/videos/{job_id}.mp4") == 404
        assert not any((service.videos / name).exists() for name in (f"{job_id}.mp4", *picture_names(job_id)))
    return status


async def _left_the_queue(service: Service, job_id: str) -> bool:
    async with service.link() as link:
        return await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id)) is None


async def _status_is(service: Service, job_id: str, expected: JobStatus | None) -> None:
    async def same() -> bool:
        status = await service.status(job_id)
        return status is not None and replace(status, expires_at=None) == expected  # which the edge adds

    await eventually(same, within_s=BOUND_S)


async def _check_video(service: Service, ending: JobSucceeded, made: str | None) -> None:
    content = await service.bytes(f"/videos/{ending.job_id}.mp4")
    if content is None:
        raise Lost("a video that cannot be had")
    digest = hashlib.sha256(content).hexdigest()
    assert digest == ending.sha256, "the video is not the one that was made"
    assert made in (None, digest), "an interrupted job's video is not the uninterrupted one's"
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(content)
        file.flush()
        facts = read_video_facts(Path(file.name))
    assert (facts.num_frames, len(content)) == (ending.num_frames, ending.size_bytes)


async def check_deleted(service: Service, job_id: str, key: str) -> None:
    """All of the job is gone but its id and time, from log, bucket, index and stores, and nothing brings it back."""

    async def gone() -> bool:
        async with service.link() as link:
            log = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
            index = await link.read(subjects.bucket_stream(subjects.INDEX_BUCKET), ">")
            tombstone = await link.get(subjects.TOMBSTONES_BUCKET, job_id)
            status = await link.get(subjects.STATUS_BUCKET, job_id)
        return (
            [event.subject for event in log] == [f"video.events.{job_id}.finished.deleted"]
            and job_id not in {subjects.job_id_of(entry.subject) for entry in index}
            and (status, tombstone is not None) == (None, True)
            and not _files_of(service, job_id)
        )

    await eventually(gone, within_s=BOUND_S)
    await eventually(lambda: _left_the_queue(service, job_id), within_s=BOUND_S)
    await service.at_rest()
    assert [await service.get(path) for path in (f"/video/status/{job_id}", f"/videos/{job_id}.mp4")] == [404, 404]
    code, _ = await post(service.client, f"{service.url}/video/submit", JOB, {"Idempotency-Key": key})
    assert code == 410, code


def _files_of(service: Service, job_id: str) -> list[Path]:
    found = [*service.videos.rglob("*"), *service.scratch.rglob("*")]
    return [path for path in found if path.is_file() and job_id_in(path.name) == job_id]


async def nothing_is_left(service: Service) -> None:
    """Of inputs without a video, checkpoints and half-written files; and the log knows how every video came about."""

    def left() -> list[Path]:
        drafts = [*service.videos.glob(".tmp/*"), *service.scratch.glob(".tmp/*")]
        made = {path.stem for path in service.videos.glob("*.mp4")}
        inputs = [path for path in service.scratch.glob("inputs/*") if job_id_in(path.name) not in made]
        return [*drafts, *inputs, *service.scratch.glob("checkpoints/*")]

    await eventually(lambda: not left(), within_s=3 * LEFTOVER_S + BOUND_S)

    async def known() -> bool:
        async with service.link() as link:
            endings = await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
        return {path.stem for path in service.videos.glob("*.mp4")} <= {
            subjects.job_id_of(ending.subject) for ending in endings
        }

    try:
        await eventually(known, within_s=3 * LEFTOVER_S)
    except AssertionError as error:
        raise Lost("the log does not know all that was made") from error


def rights_missed(service: Service) -> list[str]:
    """Return the lines that say that the broker has denied something to a process, each of which is its own user."""
    return [line for process in service.processes.values() for line in process.text.splitlines() if DENIED in line]


def megabytes(service: Service) -> dict[str, int]:
    """Of main memory that each lasting process holds."""
    pids = {name: service.pids(name)[0] for name in LASTING}
    return {name: int(_status_of(pid, "VmRSS").split()[1]) // 1024 for name, pid in pids.items()}


def _status_of(pid: int, field: str) -> str:
    return next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))


def descriptors(service: Service) -> dict[str, int]:
    """How many files and sockets each lasting process holds."""
    pids = {name: service.pids(name)[0] for name in LASTING}
    return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in pids.items()}
