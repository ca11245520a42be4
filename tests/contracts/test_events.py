"""The golden files are what was published once: an event that no longer decodes to the same bytes breaks the log."""

import json
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from contracts import message_ids, subjects, wire
from contracts.broker import Stored
from contracts.events import EndingUnknown, Event, JobSubmitted, JobSucceeded
from contracts.record import Record

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.json"))


def kind_of(file: Path) -> str:
    """The event's type: the file's name up to a dot, after which stands what an event with later fields says."""
    return file.stem.partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_event_as_it_was_published_still_decodes_and_encodes_the_same(file: Path) -> None:
    event = wire.decode_event(file.read_bytes())
    assert type(event).__name__ == kind_of(file)
    assert json.loads(wire.encode(event)) == json.loads(file.read_text())


def test_every_event_type_has_a_golden_file() -> None:
    assert {kind.__name__ for kind in get_args(Event)} == {kind_of(file) for file in FILES}


def test_every_event_has_a_subject_and_a_derived_message_id_of_its_own() -> None:
    events = [wire.decode_event(file.read_bytes()) for file in FILES]
    assert len({subjects.event(event) for event in events}) == len(events)
    assert all(subjects.job_id_of(subjects.event(event)) == event.job_id for event in events)
    endings = [event for event in events if ".finished." in subjects.event(event)]
    assert len(endings) == 7
    ids = [message_ids.of(event, publisher) for event in events for publisher in ("a", "b")]
    submissions = [event for event in events if isinstance(event, JobSubmitted)]
    assert len(set(ids)) == len(ids) - len(submissions)  # each goes by the job's id alone, whoever publishes it


class _StageStarted(msgspec.Struct, tag="StageStarted", tag_field="type", rename={"job_id": "requestId"}):
    """The event as the first readers know it."""

    job_id: str
    at: float
    attempt: int
    stage: str
    progress: float


def test_a_report_from_within_a_stage_is_to_old_readers_the_stage_with_more_progress() -> None:
    payload = (GOLDEN / "StageStarted.within.json").read_bytes()
    old = msgspec.json.decode(payload, type=_StageStarted)
    assert (old.stage, old.progress) == ("decode", 0.75)
    event = wire.decode_event(payload)
    assert subjects.event(event).endswith(".progress"), "who hears `stage` hears beginnings alone"


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"type":"JobTeleported"}', b'{"type":1}']
)
def test_what_is_not_an_event_is_undecodable_and_nothing_worse(payload: bytes) -> None:
    with pytest.raises(wire.Undecodable):
        wire.decode_event(payload)


def test_what_stands_where_an_ending_does_is_one_even_unreadable() -> None:
    job_id = "f" * 32
    for payload in (b"{", b'{"type":"JobTeleported"}', (GOLDEN / "JobSucceeded.json").read_bytes()):
        message = Stored(f"video.events.{job_id}.finished.succeeded", 7, payload, 12.5)
        with pytest.raises(wire.Undecodable):
            wire.event_in(message)
        ending = wire.ending_in(message)
        assert ending == EndingUnknown(job_id=job_id, at=12.5)
        assert list(wire.readable_events([message])) == [ending]


@pytest.mark.parametrize("file", [*GOLDEN.glob("*.alone.json")], ids=lambda file: file.stem)
def test_an_ending_is_read_even_if_what_was_asked_for_is_of_a_newer_version(file: Path) -> None:
    known = json.loads(file.read_text())
    newer = {**known, "job": {**known["job"], "sample_solver": "newer"}}
    subject = subjects.event(wire.decode_event(file.read_bytes()))
    message = Stored(subject, 7, json.dumps(newer).encode(), 12.5)
    expected = {name: value for name, value in known.items() if name not in ("job", "metadata")}
    for ending in (wire.ending_in(message), wire.event_in(message)):
        assert not isinstance(ending, EndingUnknown)
        assert json.loads(wire.encode(ending)) == expected
    damaged = Stored(message.subject, 7, json.dumps({**newer, "at": -1}).encode(), 12.5)
    assert isinstance(wire.ending_in(damaged), EndingUnknown)
    submission = json.dumps({**json.loads((GOLDEN / "JobSubmitted.json").read_text()), "job": newer["job"]}).encode()
    with pytest.raises(wire.Undecodable):
        wire.decode_event(submission)


@pytest.mark.parametrize("subject", ["video.events.x", "video.events.x.step", "video.events.x.submitted"])
def test_other_unreadable_messages_are_no_events(subject: str) -> None:
    assert list(wire.readable_events([Stored(subject, 7, b"{", 12.5)])) == []


def test_a_record_with_any_byte_flipped_is_undecodable() -> None:
    ending = wire.decode_event((GOLDEN / "JobSucceeded.json").read_bytes())
    assert isinstance(ending, JobSucceeded)
    record = Record(submitted=None, ending=ending)
    content = wire.encode_record(record)
    assert wire.decode_record(content) == record
    for at in range(len(content) - 1):  # the last one only ends the line
        flipped = bytearray(content)
        flipped[at] ^= 0x01
        with pytest.raises(wire.Undecodable):
            wire.decode_record(bytes(flipped))
