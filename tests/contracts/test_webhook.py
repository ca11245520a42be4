"""The record of a delivery and the message of the schedule: as they were written once, they are still read."""

import json

import pytest

from contracts import message_ids, subjects, wire
from tests.kit.builders import ID, succeeded

TRIES = [
    {"number": 1, "at": 1700000000.25, "code": None, "failure": "timeout", "duration": 15.0},
    {"number": 2, "at": 1700000020.5, "code": 503, "failure": "status", "duration": 0.125},
]
RECORD = {
    "requestId": ID,
    "webhook_id": f"{ID}_succeeded",
    "host": "hooks.example.org",
    "state": "pending",
    "created_at": 1700000000.25,
    "next_at": 1700000035.5,
    "tries": TRIES,
}


def test_a_record_as_it_was_written_once_is_read_and_written_the_same() -> None:
    assert json.loads(wire.encode(wire.decode_delivery(json.dumps(RECORD).encode()))) == RECORD


@pytest.mark.parametrize(
    "wrong", [{"tries": [TRIES[0]] * 65}, {"state": "lost"}, {"host": "a" * 300}, {"created_at": -1}]
)
def test_a_record_beyond_its_bounds_is_not_read(wrong: dict[str, object]) -> None:
    with pytest.raises(wire.Undecodable):
        wire.decode_delivery(json.dumps({**RECORD, **wrong}).encode())


def test_a_message_of_the_schedule_as_it_was_sent_once_is_read() -> None:
    assert wire.decode_due(b"{}").put_off == 0
    assert wire.decode_due(b'{"put_off":3}').put_off == 3


def test_a_webhooks_subjects_name_its_job() -> None:
    for subject in (subjects.webhook_due(ID), subjects.webhook_scheduled(ID)):
        assert subjects.job_id_of(subject) == ID


def test_an_event_from_a_record_is_told_from_the_first() -> None:
    assert message_ids.is_restored(message_ids.restored(succeeded(1, 2.0)))
    assert not message_ids.is_restored(message_ids.of(succeeded(1, 2.0), "leader"))
    assert not message_ids.is_restored(None)
