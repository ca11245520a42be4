"""Records of ended jobs: written with the ending, or later where the store failed meanwhile."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Ending
from contracts.job_log import JobLog
from contracts.record import WITHOUT_VIDEO, Record, record_name
from contracts.stores import Folder
from services.state.records import Records
from services.state.retention import Retention
from tests.kit.builders import ID, cancelled, failed, started, submitted, succeeded
from tests.services.state.test_materialise import caught_up, publish, state
from tests.services.state.test_retention import LIMITS, made_old

NOW = time.time()
LOG_S = 3 * 24 * 3600
SETTLED_S = 60
DAY_S = 86_400.0


def read(folder: Path, ending: Ending) -> Record:
    return wire.decode_record((folder / record_name(ending)).read_bytes())


async def test_a_job_without_a_video_has_its_record_once_it_has_ended(link: Bus, tmp_path: Path) -> None:
    async with state(link, videos=tmp_path):
        await publish(link, submitted(NOW), started(1, NOW), failed(1, NOW + 1))
        await caught_up(link)
    assert read(tmp_path, failed(1, NOW + 1)) == Record(submitted=submitted(NOW), ending=failed(1, NOW + 1))


async def test_what_a_full_store_did_not_take_is_written_later(link: Bus, tmp_path: Path) -> None:
    (tmp_path / WITHOUT_VIDEO).touch()  # in the way of the folder
    async with state(link, videos=tmp_path):
        await publish(link, submitted(NOW), cancelled(NOW + 1))
        await caught_up(link)
    (tmp_path / WITHOUT_VIDEO).unlink()
    records = Records(JobLog(link, "state"), Folder(tmp_path))
    for _ in range(2):
        await records.repair(set(), settled_s=SETTLED_S)
        assert read(tmp_path, cancelled(NOW + 1)).submitted == submitted(NOW)


async def test_a_record_beside_a_video_stays_as_rank_0_wrote_it_and_is_made_where_it_is_missing(
    link: Bus, tmp_path: Path
) -> None:
    ending = succeeded(1, NOW)
    await publish(link, submitted(NOW), ending)
    records = Records(JobLog(link, "state"), Folder(tmp_path))
    await records.repair(set(), settled_s=SETTLED_S)
    assert read(tmp_path, ending).ending == ending
    (tmp_path / record_name(ending)).write_bytes(b"as it was")
    await records.repair(set(), settled_s=SETTLED_S)
    assert (tmp_path / record_name(ending)).read_bytes() == b"as it was"


@pytest.mark.parametrize("ending", [succeeded(1, NOW), failed(1, NOW), cancelled(NOW)])
async def test_an_ending_that_the_log_has_lost_comes_back_from_its_record_once(
    link: Bus, tmp_path: Path, ending: Ending
) -> None:
    records = Records(JobLog(link, "state"), Folder(tmp_path))
    await Folder(tmp_path).write(
        record_name(ending), wire.encode_record(Record(submitted=submitted(NOW), ending=ending))
    )
    await records.repair(set(), settled_s=SETTLED_S)
    await records.repair({ID}, settled_s=0)
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []
    for _ in range(2):
        await records.repair(set(), settled_s=0)
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    assert [wire.decode_event(each.data) for each in stored] == [submitted(NOW), ending]


async def test_what_the_log_has_forgotten_by_its_age_stays_forgotten(link: Bus, tmp_path: Path) -> None:
    ending = failed(1, NOW)
    await Folder(tmp_path).write(record_name(ending), wire.encode_record(Record(submitted=None, ending=ending)))
    made_old(tmp_path / record_name(ending), age_s=LOG_S)
    await Records(JobLog(link, "state"), Folder(tmp_path)).repair(set(), settled_s=0)
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []


async def test_a_record_is_as_old_as_its_store_says_whatever_the_clock_of_this_machine(
    link: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A young one may be of a job that is only about to end."""
    ending = failed(1, NOW)
    await Folder(tmp_path).write(record_name(ending), wire.encode_record(Record(submitted=None, ending=ending)))
    monkeypatch.setattr("time.time", lambda: time.time_ns() / 1e9 + DAY_S)
    await Records(JobLog(link, "state"), Folder(tmp_path)).repair(set(), settled_s=SETTLED_S)
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []


async def test_a_log_that_is_nearly_full_gets_nothing_back(link: Bus, tmp_path: Path) -> None:
    ending = failed(1, NOW)
    await Folder(tmp_path).write(record_name(ending), wire.encode_record(Record(submitted=None, ending=ending)))
    await link.publish("video.events.filler.step", bytes(1000), within_s=2)
    log_so_far = await link.stream(subjects.EVENTS_STREAM)
    log_so_far.config.max_bytes = log_so_far.state.bytes + 1
    await link.admin.update_stream(log_so_far.config)
    await Records(JobLog(link, "state"), Folder(tmp_path)).repair(set(), settled_s=0)
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS) == []


async def test_an_ending_that_the_broker_refuses_keeps_no_other_from_coming_back(link: Bus, tmp_path: Path) -> None:
    log = await link.stream(subjects.EVENTS_STREAM)
    refused = replace(failed(1, NOW), reason="r" * 2000)
    endings = [replace(refused, job_id=f"{digit:032x}") for digit in (1, 3)] + [
        replace(failed(1, NOW), job_id=f"{2:032x}")
    ]
    for ending in endings:
        await Folder(tmp_path).write(record_name(ending), wire.encode_record(Record(submitted=None, ending=ending)))
    log.config.max_msg_size = 1000
    await link.admin.update_stream(log.config)
    await Records(JobLog(link, "state"), Folder(tmp_path)).repair(set(), settled_s=0)
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
    assert [subjects.job_id_of(each.subject) for each in stored] == [f"{2:032x}"]


@pytest.mark.parametrize("ending", [failed(1, NOW - LOG_S), replace(failed(1, NOW), job_id="e" * 32)])
async def test_a_young_file_of_an_old_ending_or_of_another_job_brings_nothing_back(
    link: Bus, tmp_path: Path, ending: Ending
) -> None:
    content = wire.encode_record(Record(submitted=None, ending=ending))
    await Folder(tmp_path).write(record_name(failed(1, NOW)), content)
    await Records(JobLog(link, "state"), Folder(tmp_path)).repair(set(), settled_s=0)
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []


async def test_a_record_goes_when_the_log_would_have_forgotten_the_job_but_not_from_beside_its_video(
    link: Bus, tmp_path: Path
) -> None:
    store = Folder(tmp_path)
    without, beside = record_name(replace(failed(1, NOW), job_id="f" * 32)), record_name(succeeded(1, NOW))
    for name in (without, beside):
        await store.write(name, b"{}")
        made_old(store.path(name), LOG_S + 60)
    await store.write(beside.replace(".json", ".mp4"), b"a video")
    await Retention(JobLog(link, "state"), store, Folder(tmp_path / "scratch"), LIMITS).delete_outdated(set())
    assert [file.name for file in await store.files(WITHOUT_VIDEO)] == []
    assert await store.exists(beside)


@pytest.mark.parametrize("job_id", ["abc", "test:1", "x" * 60])
async def test_an_ending_of_what_is_no_job_has_no_record_and_harms_no_other(
    link: Bus, tmp_path: Path, job_id: str
) -> None:
    async with state(link, videos=tmp_path):
        await link.publish(f"video.events.{job_id}.finished.failed", b"garbage", within_s=5)
        await publish(link, submitted(NOW), failed(1, NOW + 1))
        await caught_up(link)
    await Records(JobLog(link, "state"), Folder(tmp_path)).repair(set(), settled_s=SETTLED_S)
    assert [file.name for file in (tmp_path / WITHOUT_VIDEO).iterdir()] == [f"{ID}.json"]
