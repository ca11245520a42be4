import json

import pytest

from contracts import wire
from services.webhooks.letter import body_of
from tests.kit.builders import ID, cancelled, succeeded

ENDING = wire.encode(succeeded(1, at=200.0))
PUBLIC = {name: value for name, value in json.loads(ENDING).items() if name != "instance"}


def test_the_body_is_the_ending_with_the_metadata_of_the_job() -> None:
    body = json.loads(body_of(ENDING, {"order": "42"}, None))
    assert body == {**PUBLIC, "metadata": {"order": "42"}}
    assert json.loads(body_of(ENDING, None, None)) == PUBLIC


def test_fields_of_a_newer_version_stay() -> None:
    newer = json.dumps({**json.loads(ENDING), "queue_s": 3.5}).encode()
    assert json.loads(body_of(newer, None, None))["queue_s"] == 3.5


@pytest.mark.parametrize("public", ["https://video.example.org", "https://video.example.org/"])
def test_the_address_of_the_video_is_whole_where_the_public_one_is_known(public: str) -> None:
    body = json.loads(body_of(ENDING, None, public))
    assert body["video_url"] == f"https://video.example.org/videos/{ID}.mp4"
    assert "video_url" not in json.loads(body_of(wire.encode(cancelled(1.0)), None, public))
