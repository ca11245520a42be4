import json
from typing import Any

import pytest
from msgspec import UNSET

from services.edge.submission import Invalid, parse

GOOD: dict[str, Any] = {"prompt": "  a boat at sea, slowly  ", "image_url": "https://example.org/a.png"}


def faults(**fields: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        parse(json.dumps({**GOOD, **fields}).encode())
    return {objection.field: objection.message for objection in refusal.value.objections}


def test_a_request_has_the_documented_defaults() -> None:
    request = parse(json.dumps(GOOD).encode())
    assert request.prompt == "a boat at sea, slowly"
    assert (request.num_frames, request.guidance_scale, request.infer_steps, request.seed) == (81, 3.0, 30, None)
    assert (request.sample_solver, request.sample_shift, request.keep_aspect) == ("unipc", UNSET, False)


def test_every_faulty_field_is_named_at_once_with_what_it_was_and_may_be() -> None:
    found = faults(prompt="short", num_frames=121, seed="one", steps=3, guidance_scale=0.5)
    assert found == {
        "steps": "steps is not a field",
        "prompt": 'prompt was "short"; it may be text from 10 to 500 characters',
        "num_frames": "num_frames was 121; it may be a whole number from 24 to 120",
        "seed": 'seed was "one"; it may be a whole number from 0 to 2147483647 or null',
        "guidance_scale": "guidance_scale was 0.5; it may be a number from 1.0 to 20.0",
    }


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Invalid, match="image_url is missing"):
        parse(b'{"prompt": "a boat at sea"}')


def test_echoed_values_are_cut() -> None:
    assert len(faults(image_size="9" * 5000)["image_size"]) < 200


def test_a_prompt_is_measured_after_trimming() -> None:
    assert "prompt" in faults(prompt="   short   ")


def test_dpmpp_is_an_alias() -> None:
    assert parse(json.dumps({**GOOD, "sample_solver": "dpmpp"}).encode()).sample_solver == "dpm++"


def test_fields_that_contradict_each_other_are_refused() -> None:
    assert set(faults(start_step=9, end_step=9)) == {"start_step"}
    assert set(faults(cfg_size=2, guidance_scale=1.0)) == {"cfg_size"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 50_000, b'{"prompt": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse(body)
