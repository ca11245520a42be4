"""The fields of `/v1/videos`, as the `openai` package and the clients of its servers send them."""

import json
from typing import Any

import pytest

from contracts.job import JobRequest
from services.edge.body.video_fields import NAMES
from services.edge.body.video_submission import parse_video
from services.edge.docs.video_request import form_schema, json_schema_of_video
from services.edge.errors import Invalid

URL = "https://example.org/a.png"
GOOD: dict[str, Any] = {"prompt": "a cat", "input_reference": {"image_url": URL}}


def parsed(**fields: Any) -> JobRequest:
    return parse_video(json.dumps({**GOOD, **fields}).encode())


def faults(**fields: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        parsed(**fields)
    return {objection.field: objection.message for objection in refusal.value.objections}


def test_a_short_prompt_and_a_picture_are_enough() -> None:
    request = parsed()
    assert (request.prompt, request.image_url, request.image_size) == ("a cat", URL, "auto")
    assert parsed(prompt=" a ").prompt == "a"
    assert parsed(prompt="x" * 500).prompt == "x" * 500
    assert set(faults(prompt="  ")) == set(faults(prompt="x" * 501)) == {"prompt"}
    assert "from 1 to 500" in faults(prompt="")["prompt"]


@pytest.mark.parametrize(
    ("seconds", "frames"), [("4", 65), ("5", 81), (7, 113), (5.0, 81), ("1.5", 25), (" 2 ", 33), ("7.43", 120)]
)
def test_seconds_are_frames_at_sixteen_a_second(seconds: object, frames: int) -> None:
    assert parsed(seconds=seconds).num_frames == frames


@pytest.mark.parametrize("seconds", ["60", "0", 1, -1, "nan", "inf", 1e308, "five", True, [5], {}, "9" * 5000])
def test_seconds_beyond_the_limits_are_refused(seconds: object) -> None:
    assert "it may be a number from 1.44 to 7.43" in faults(seconds=seconds)["seconds"]


def test_frames_win_over_seconds() -> None:
    assert parsed(seconds="60", num_frames=25).num_frames == 25


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"size": "832x480"}, "832*480"),
        ({"size": "832X480"}, "832*480"),
        ({"size": "832*480"}, "832*480"),
        ({"size": "auto"}, "auto"),
        ({"width": 832, "height": 480}, "832*480"),
        ({"image_size": "832*480"}, "832*480"),
        ({"size": None, "width": None}, "auto"),
    ],
)
def test_a_size_comes_in_several_forms(given: dict[str, Any], size: str) -> None:
    assert parsed(**given).image_size == size


@pytest.mark.parametrize("size", ["big", "832", "0x0", "832x480x3", 832, "8" * 5000, ""])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    assert set(faults(size=size)) == {"size"}


@pytest.mark.parametrize(
    "given", [{"width": 832}, {"height": 480}, {"width": "x", "height": 480}, {"width": [], "height": 1}]
)
def test_one_side_alone_or_sides_that_are_none_are_refused(given: dict[str, Any]) -> None:
    assert set(faults(**given)) <= {"width", "height"}


@pytest.mark.parametrize(
    "picture",
    [
        {"input_reference": {"image_url": URL}},
        {"input_reference": URL},
        {"image_reference": json.dumps({"image_url": URL})},
        {"image_reference": {"image_url": URL}},
        {"image_reference": json.dumps([{"image_url": URL}])},
        {"input_references": [{"image_url": URL}]},
        {"reference_url": URL},
        {"image_url": URL},
    ],
    ids=str,
)
def test_a_picture_comes_under_several_names_and_forms(picture: dict[str, Any]) -> None:
    assert parse_video(json.dumps({"prompt": "a cat", **picture}).encode()).image_url == URL


@pytest.mark.parametrize(
    "picture",
    [
        {"input_reference": {"file_id": "file-1"}},
        {"input_reference": 7},
        {"input_reference": []},
        {"input_reference": [URL, URL]},
        {"input_reference": {"image_url": 7}},
        {"input_reference": "[[" * 30_000},
        {"image_reference": "{"},
        {"reference_url": URL, "input_reference": URL},
    ],
    ids=lambda picture: str(picture)[:60],
)
def test_a_picture_that_is_none_and_a_second_one_are_refused(picture: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_video(json.dumps({"prompt": "a cat", **picture}).encode())
    (objection,) = refusal.value.objections
    assert objection.field in picture


def test_without_a_picture_that_is_said() -> None:
    with pytest.raises(Invalid, match="image_url is missing"):
        parse_video(b'{"prompt": "a cat"}')


def test_fields_have_the_names_of_other_servers_and_our_own() -> None:
    request = parsed(
        num_inference_steps=20,
        flow_shift=3.0,
        guidance_scale=0,
        seed=7,
        negative_prompt="",
        sample_solver="dpmpp",
        cfg_size=1,
    )
    assert (request.infer_steps, request.sample_shift, request.guidance_scale) == (20, 3.0, 1.0)
    assert (request.seed, request.negative_prompt, request.sample_solver, request.cfg_size) == (7, "", "dpm++", 1)


@pytest.mark.parametrize("name", ["extra_params", "extra_body", "extra_json"])
def test_members_of_extras_count_as_fields_and_the_body_counts_first(name: str) -> None:
    for extras in ({"seed": 5, "num_frames": 25}, json.dumps({"seed": 5, "num_frames": 25})):
        request = parsed(**{name: extras}, num_frames=49)
        assert (request.seed, request.num_frames) == (5, 49)
    assert set(faults(**{name: {"sede": 5}})) == {"sede"}
    for wrong in ("seed", 7, [], "[]", "x" * 70_000):
        assert set(faults(**{name: wrong})) == {name}


def test_what_asks_for_nothing_is_ignored_and_what_would_change_the_pixels_is_refused() -> None:
    nothing = {"user": "u", "quality": "hd", "n": 1, "num_outputs_per_prompt": 1, "fps": 16, "enhance_prompt": False}
    assert parsed(**nothing) == parsed()
    something = {"n": 2, "fps": 24, "enhance_prompt": True, "lora": {"name": "x"}, "true_cfg_scale": 4, "fsp": 16}
    assert set(faults(**something)) == set(something)


def test_a_faulty_field_is_named_as_the_client_named_it() -> None:
    assert faults(num_inference_steps=3)["num_inference_steps"].startswith("num_inference_steps was 3; it may be")
    assert faults(flow_shift=99)["flow_shift"].startswith("flow_shift was 99")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"prompt": "\xff"}', b"[" * 50_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse_video(body)


def test_the_document_names_the_fields_that_the_parser_knows_and_no_others() -> None:
    for schema in (json_schema_of_video(), form_schema()):
        assert set(schema["properties"]) == NAMES
