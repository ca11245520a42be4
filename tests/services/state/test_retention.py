import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Event
from contracts.job import input_name, video_name
from contracts.job_log import JobLog
from contracts.record import WITHOUT_VIDEO, video_record_name
from contracts.stores import Folder
from contracts.video_files import names_with_video, picture_name, picture_names
from services.state.records import Records
from services.state.retention import Limits, Retention
from tests.kit.builders import ID, cancelled, failed, succeeded

OLD_S, DAY_S = 10_000.0, 86_400.0
LIMITS = Limits(videos_bytes_max=250, young_s=600, leftover_s=3600)


def job_id(n: int) -> str:
    return f"{n:032x}"


class Stores:
    """Two empty stores in a folder, and the retention that is tested on them."""

    def __init__(self, folder: Path, link: Bus) -> None:
        self.videos, self.scratch = Folder(folder / "videos"), Folder(folder / "scratch")
        self.link = link
        self.retention = Retention(JobLog(link, "state"), self.videos, self.scratch, LIMITS)

    async def put(self, store: Folder, name: str, *, age_s: float, size_bytes: int = 100) -> Path:
        await store.write(name, b"x" * size_bytes)
        return made_old(store.path(name), age_s)

    async def names(self, store: Folder, inside: str = "") -> list[str]:
        return [file.name for file in await store.files(inside)]


def made_old(path: Path, age_s: float) -> Path:
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


@pytest.fixture
def stores(tmp_path: Path, link: Bus) -> Stores:
    return Stores(tmp_path, link)


async def test_the_oldest_videos_go_until_the_rest_is_within_the_cap(stores: Stores) -> None:
    for n in range(5):
        await stores.put(stores.videos, video_name(job_id(n)), age_s=OLD_S + n)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.videos) == [video_name(job_id(n)) for n in (1, 0)]


async def test_young_videos_and_those_of_unfinished_jobs_stay_whatever_the_cap(stores: Stores) -> None:
    await stores.put(stores.videos, video_name(job_id(0)), age_s=OLD_S, size_bytes=300)
    await stores.put(stores.videos, video_name(job_id(1)), age_s=OLD_S + 1, size_bytes=300)
    await stores.put(stores.videos, video_name(job_id(2)), age_s=LIMITS.young_s - 60, size_bytes=300)
    await stores.retention.delete_outdated({job_id(1)})
    assert await stores.names(stores.videos) == [video_name(job_id(n)) for n in (1, 2)]


@pytest.mark.parametrize("ending", [failed(1, 1.0), cancelled(1.0)])
async def test_the_video_of_a_job_that_did_not_succeed_goes_at_once(stores: Stores, ending: Event) -> None:
    await stores.put(stores.videos, video_name(ID), age_s=0)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.videos) == [video_name(ID)]  # not ended, for all the log knows
    await stores.link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.videos) == []


async def test_the_video_of_a_job_that_succeeded_stays_and_is_asked_about_once(stores: Stores) -> None:
    await stores.put(stores.videos, video_name(ID), age_s=OLD_S)
    ending = succeeded(1, 1.0)
    await stores.link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    await stores.retention.delete_outdated(set())
    await stores.link.admin.purge_stream(subjects.EVENTS_STREAM)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.videos) == [video_name(ID)]


async def test_an_input_stays_as_long_as_its_video_and_counts_as_a_part_of_it(stores: Stores) -> None:
    for n in range(3):
        await stores.put(stores.videos, video_name(job_id(n)), age_s=OLD_S + n, size_bytes=60)
        await stores.put(stores.scratch, input_name(job_id(n)), age_s=OLD_S + n, size_bytes=60)
        ending = replace(succeeded(1, 1.0), job_id=job_id(n))
        await stores.link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.videos) == [video_name(job_id(n)) for n in (1, 0)]
    assert await stores.names(stores.scratch, "inputs") == [input_name(job_id(n)) for n in (1, 0)]


async def test_inputs_and_checkpoints_without_a_job_go_after_an_hour(stores: Stores) -> None:
    for n, age_s in enumerate((OLD_S, OLD_S, LIMITS.leftover_s - 60)):
        await stores.put(stores.scratch, input_name(job_id(n)), age_s=age_s)
        await stores.put(stores.scratch, f"checkpoints/{job_id(n)}-12.safetensors", age_s=age_s)
    await stores.retention.delete_outdated({job_id(1)})
    for folder in ("inputs", "checkpoints"):
        left = {name.split("/")[1][:32] for name in await stores.names(stores.scratch, folder)}
        assert left == {job_id(1), job_id(2)}


async def test_no_file_goes_by_an_ending_that_cannot_be_read(stores: Stores) -> None:
    """Keep the files of a job whose ending a newer version wrote, and this version cannot read."""
    await stores.link.publish(f"video.events.{ID}.finished.succeeded", b'{"type":"JobSucceeded"}', within_s=2)
    await stores.link.publish(
        f"video.events.{job_id(1)}.finished.expired", b'{"type":"JobExpired"}', message_id="odd1", within_s=2
    )
    files = [
        *((stores.videos, name(each)) for each in (ID, job_id(1)) for name in (video_name, video_record_name)),
        *((stores.scratch, input_name(each)) for each in (ID, job_id(1))),
    ]
    for store, name in files:
        await stores.put(store, name, age_s=LIMITS.leftover_s + 60, size_bytes=10)
    await stores.retention.delete_outdated(set())
    await Records(JobLog(stores.link, "state"), stores.videos).repair(set(), settled_s=0)
    assert [name for store, name in files if not store.path(name).exists()] == []
    assert await stores.names(stores.videos, WITHOUT_VIDEO) == []


async def test_an_old_input_stays_while_queue_or_log_know_its_job(stores: Stores) -> None:
    """A list of unfinished jobs is as old as the clean-up: both are asked again right before a file goes."""
    queued, lost, ended = job_id(1), job_id(2), job_id(3)
    for each in (queued, lost, ended, job_id(4)):
        await stores.put(stores.scratch, input_name(each), age_s=OLD_S)
    await stores.link.publish(subjects.job(queued), b"{}", within_s=2)
    await stores.link.publish(subjects.submission_of(lost), b"{}", within_s=2)
    ending = replace(cancelled(1.0), job_id=ended)
    await stores.link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    await stores.retention.delete_outdated(set())
    assert sorted(await stores.names(stores.scratch, "inputs")) == [input_name(queued), input_name(lost)]


async def test_an_input_that_is_submitted_again_counts_as_young(stores: Stores) -> None:
    await stores.put(stores.scratch, input_name(ID), age_s=OLD_S)
    assert not await stores.scratch.write(input_name(ID), b"again")
    await stores.retention.delete_outdated(set())
    assert await stores.scratch.read(input_name(ID)) == b"x" * 100


async def test_half_written_drafts_go_once_nobody_writes_to_them(stores: Stores) -> None:
    with stores.videos.draft(video_name(ID)) as writing, stores.scratch.draft(input_name(ID)) as left:
        for draft in (writing, left):
            draft.write_bytes(b"half")
        made_old(left, LIMITS.leftover_s + 60)
        await stores.retention.delete_outdated(set())
        assert writing.exists()
        assert not left.exists()


async def test_nothing_young_goes_by_a_clock_that_is_a_day_fast(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input of a job that is being accepted at this moment, which neither queue nor log know yet, above all."""
    await stores.put(stores.scratch, input_name(ID), age_s=0)
    await stores.put(stores.videos, video_name(job_id(1)), age_s=0, size_bytes=LIMITS.videos_bytes_max + 1)
    with stores.scratch.draft(input_name(job_id(2))) as writing:
        writing.write_bytes(b"half")
        monkeypatch.setattr("time.time", lambda: time.time_ns() / 1e9 + DAY_S)
        await stores.retention.delete_outdated(set())
        assert writing.exists()
    assert await stores.names(stores.scratch, "inputs") == [input_name(ID)]
    assert await stores.names(stores.videos) == [video_name(job_id(1))]


async def test_what_is_old_goes_by_a_clock_that_is_a_day_slow(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    await stores.put(stores.scratch, input_name(ID), age_s=OLD_S)
    monkeypatch.setattr("time.time", lambda: time.time_ns() / 1e9 - DAY_S)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.scratch, "inputs") == []


async def test_a_store_that_is_not_there_yet_is_an_empty_one(stores: Stores) -> None:
    await stores.retention.delete_outdated(set())


async def test_what_is_no_file_of_ours_is_left_alone(stores: Stores) -> None:
    await stores.put(stores.videos, video_name(ID), age_s=OLD_S, size_bytes=10)
    foreign = stores.videos.root / "read me first.txt"
    foreign.write_bytes(b"x" * 1000)
    made_old(foreign, OLD_S)
    await stores.retention.delete_outdated(set())
    assert foreign.exists()


async def put_whole(stores: Stores, each: str, *, age_s: float, size_bytes: int = 100) -> None:
    """Put a job's video and all that lies beside it."""
    for name in names_with_video(each):
        await stores.put(stores.videos, name, age_s=age_s, size_bytes=size_bytes)


async def test_a_video_goes_with_its_pictures_and_both_count(stores: Stores) -> None:
    await put_whole(stores, job_id(0), age_s=OLD_S + 1)
    await stores.put(stores.videos, video_name(job_id(1)), age_s=OLD_S)
    await stores.retention.delete_outdated(set())
    left = await stores.names(stores.videos)
    assert video_name(job_id(1)) in left
    assert not set(left) & {video_name(job_id(0)), *picture_names(job_id(0))}, "250 bytes are allowed, there were 400"


async def test_the_pictures_of_a_job_that_did_not_succeed_go_with_its_video(stores: Stores) -> None:
    await put_whole(stores, ID, age_s=1)  # however young: the clock of the file system is coarse
    ending = cancelled(1.0)
    await stores.link.publish(subjects.event(ending), wire.encode(ending), within_s=2)
    await stores.retention.delete_outdated(set())
    assert await stores.names(stores.videos) == []


async def test_pictures_without_a_video_are_left_over_after_an_hour(stores: Stores) -> None:
    for n, age_s in enumerate((OLD_S, OLD_S, LIMITS.leftover_s - 60)):
        await stores.put(stores.videos, picture_name(job_id(n), "thumbnail"), age_s=age_s)
    await stores.put(stores.videos, "readme.webp", age_s=OLD_S)
    await stores.retention.delete_outdated({job_id(1)})
    assert set(await stores.names(stores.videos)) == {
        *(picture_name(job_id(n), "thumbnail") for n in (1, 2)),
        "readme.webp",
    }
