"""The broker's disk is gone: what had ended comes back from beside the videos."""

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, bus
from contracts.events import Ending, Event
from contracts.record import Record, record_name
from contracts.status import JobStatus
from contracts.stores import Folder
from ops import provision
from ops.rebuild import Rebuilt, in_words, rebuild
from tests.kit.broker import Broker, provision_settings
from tests.kit.builders import cancelled, failed, started, submitted, succeeded
from tests.ops.test_events import publish
from tests.services.state.test_materialise import NOW, caught_up, state

ENDINGS: list[Ending] = [succeeded(1, NOW + 1), failed(1, NOW + 2), cancelled(NOW + 3)]


def life(number: int) -> list[Event]:
    """A job of its own, from its submission to one of the three endings."""
    job_id = f"{number:032x}"
    events = [submitted(NOW), started(1, NOW), ENDINGS[number % 3]]
    return [replace(event, job_id=job_id) for event in events]


async def statuses(link: Bus) -> list[JobStatus]:
    return [wire.decode_status(value) for value in await link.values(subjects.STATUS_BUCKET)]


async def test_every_ended_job_has_its_status_again_after_the_broker_lost_everything(
    broker: Broker, link: Bus, tmp_path: Path
) -> None:
    videos = Folder(tmp_path / "videos")
    async with state(link, videos=videos.root, retention_s=1000):
        for number in range(9):
            log = life(number)
            await publish(link, *log)
            if number % 3 == 0:  # as rank 0 does
                record = Record(submitted=submitted(NOW), ending=succeeded(1, NOW + 1))
                record = replace(record, submitted=log[0], ending=log[2])
                await videos.write(record_name(record.ending), wire.encode_record(record))
        await caught_up(link)
        before = sorted(await statuses(link), key=lambda status: status.job_id)
    await link.end()
    broker.kill()
    shutil.rmtree(broker.store)
    broker.start()
    async with bus.connect(broker.url, name="rebuild") as afresh:
        await provision.provision(afresh, provision_settings(broker))
        assert await rebuild(afresh, videos) == Rebuilt(restored=9, known=0, unreadable=[])
        async with state(afresh, retention_s=1000):
            await caught_up(afresh)
            after = sorted(await statuses(afresh), key=lambda status: status.job_id)
        assert [restored(status) for status in before] == after
        assert await rebuild(afresh, videos) == Rebuilt(restored=0, known=9, unreadable=[])


def restored(status: JobStatus) -> JobStatus:
    """A job that did not succeed keeps no trace of its attempts."""
    if status.status == "Succeed":
        return status
    return replace(status, attempt=0, progress=0.0, width=None, height=None, cropped=None, sized_attempt=0)


async def test_a_damaged_record_is_named_and_harms_no_other(link: Bus, tmp_path: Path) -> None:
    videos = Folder(tmp_path)
    good, bad = failed(1, NOW), succeeded(1, NOW)
    await videos.write(record_name(good), wire.encode_record(Record(submitted=submitted(NOW), ending=good)))
    await videos.write(record_name(bad), b"{")
    assert await rebuild(link, videos) == Rebuilt(restored=1, known=0, unreadable=[record_name(bad)])


@pytest.mark.parametrize("ending", [failed(1, NOW), cancelled(NOW)])
async def test_a_cancelled_job_stays_cancelled_where_the_record_of_a_success_lies_beside_it(
    link: Bus, tmp_path: Path, ending: Ending
) -> None:
    """Rank 0 writes the record of a success before its ending, which may then come too late."""
    videos = Folder(tmp_path)
    for each in (succeeded(1, NOW), ending):
        await videos.write(record_name(each), wire.encode_record(Record(submitted=submitted(NOW), ending=each)))
    assert await rebuild(link, videos) == Rebuilt(restored=1, known=0, unreadable=[])
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
    assert [wire.decode_event(each.data) for each in stored] == [ending]


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Rebuilt(9, 0, []), "restored 9 of 9 jobs"),
        (Rebuilt(1, 24, []), "restored 1 of 25 jobs; 24 jobs already in the log"),
        (Rebuilt(0, 25, []), "nothing to restore: 25 jobs already in the log"),
        (Rebuilt(0, 1, []), "nothing to restore: 1 job already in the log"),
        (Rebuilt(0, 0, []), "nothing to restore: no record of a job was found"),
        (Rebuilt(1, 0, ["a.json"]), "restored 1 of 1 job; 1 record cannot be read"),
        (
            Rebuilt(0, 3, ["a.json", "b.json"]),
            "nothing to restore: 3 jobs already in the log; 2 records cannot be read",
        ),
    ],
)
def test_what_was_done_is_said_without_faults_that_there_were_not(done: Rebuilt, said: str) -> None:
    assert in_words(done) == said
