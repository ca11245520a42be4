"""The golden files are what was published once: an event that no longer decodes to the same bytes breaks the log."""

import json
from pathlib import Path
from typing import get_args

import pytest

from contracts import subjects, wire
from contracts.broker import Stored
from contracts.events import EndingUnknown, Event, JobSucceeded
from contracts.record import Record

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_event_as_it_was_published_still_decodes_and_encodes_the_same(file: Path) -> None:
    event = wire.decode_event(file.read_bytes())
    assert type(event).__name__ == file.stem
    assert json.loads(wire.encode(event)) == json.loads(file.read_text())


def test_every_event_type_has_a_golden_file() -> None:
    assert {kind.__name__ for kind in get_args(Event)} == {file.stem for file in FILES}


def test_every_event_has_a_subject_and_a_derived_message_id_of_its_own() -> None:
    events = [wire.decode_event(file.read_bytes()) for file in FILES]
    assert len({subjects.event(event) for event in events}) == len(events)
    assert all(subjects.job_id_of(subjects.event(event)) == event.job_id for event in events)
    endings = [event for event in events if ".finished." in subjects.event(event)]
    assert len(endings) == 3
    ids = [subjects.message_id(event, publisher) for event in events for publisher in ("a", "b")]
    assert len(set(ids)) == len(ids) - 1  # a submission goes by the job's id alone, whoever publishes it


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
