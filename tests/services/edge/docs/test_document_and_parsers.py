"""Every field of every request with every kind of value: what the document allows is accepted, and nothing else is."""

import json
from typing import Any

import pytest

from contracts.job import JobRequest
from services.edge.body.dialect import JOBS, VIDEOS, Dialect
from services.edge.body.form_text import json_of
from services.edge.body.references import PICTURES
from services.edge.body.video_fields import EXTRAS, NAMES, OWN
from services.edge.errors import Invalid
from tests.kit.edge import PROMPT
from tests.services.edge.docs.test_openapi import DOCUMENT, validator

URL = "https://example.org/a.png"
LONG = 512
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 12, 16, 16.0, 16.5, 20, 24, 24.5, 25, 37, 100, 101, 120, 121, 0.0, 0.1, 0.5, 1.0,
    3.0, 10, 11, 9999, 10_000, 2**31 - 1, 2**31, 2**53, 2**64, -(2**64), 1e300,
    "", " ", "x", "auto", " AUTO ", "7", "7.5", "-1", "1e1", "1_0", "nan", "٣", "16", "true", "false", "null",
    "832x480", " 832X480 ", "832*480", "0832x480", "832 x 480", "9x9", "unipc", "dpm++", "dpmpp", "default", URL,
    "http://a.b", "https://user:pw@a.b", "file:///x", "x" * 64, "x" * 65, "x" * LONG, "x" * (LONG + 1), "x" * 70_000,
    "{}", "[]", '{"seed": 1}', '{"seed": "x"}', "\0", "猫" * 4,
    [], [1], ["x"], [URL], [URL, URL], [{"image_url": URL}], {}, {"a": "b"}, {"a": 1}, {"": "b"}, {"a": "x" * LONG},
    {"a": "x" * (LONG + 1)}, {str(number): "" for number in range(17)}, {"seed": 1}, {"seed": "x"}, {"nope": 1},
    {"extra_body": {}}, {"image_url": URL, "x": 1}, {"image_url": 1}, {"image_url": ""}, {"file_id": "x"},
]  # fmt: skip


NUMBER = (int, float)
VAGUE: dict[str, tuple[type, ...]] = {
    "prompt": (str,),  # weighed, without the blanks around it
    "start_step": NUMBER,  # below end_step
    "end_step": NUMBER,
    "webhook_url": (str,),  # an address
    "seconds": (*NUMBER, str),  # within limits, unless frames are given
    "width": NUMBER,  # not alone
    "height": NUMBER,
    **dict.fromkeys(EXTRAS, (str,)),  # JSON
    **dict.fromkeys(PICTURES, (str,)),  # an address, or JSON; a large one is a data: URI
}
"""The fields of whose values of these types a schema cannot say all."""


def body_schema(path: str, kind: str) -> Any:
    return DOCUMENT["paths"][path]["post"]["requestBody"]["content"][kind]["schema"]


def accepts(dialect: Dialect, body: bytes) -> bool:
    try:
        dialect.parse(body)
    except Invalid:
        return False
    return True


REQUESTS = {
    "/video/submit": (JOBS, {"prompt": PROMPT, "image_url": URL}),
    "/v1/videos": (VIDEOS, {"prompt": PROMPT, "input_reference": URL}),
}
FIELDS = [(path, name) for path, names in (("/video/submit", JobRequest.__struct_fields__), ("/v1/videos", NAMES))
          for name in sorted({*names, "nope"})]  # fmt: skip


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_document_and_parser_take_the_same_values(path: str, field: str) -> None:
    dialect, good = REQUESTS[path]
    base = {name: value for name, value in good.items() if not (field in dialect.parts.references and value == URL)}
    allowed, vague = validator(body_schema(path, "application/json")), VAGUE.get(field, ())
    for value in VALUES:
        body = {**base, field: value}
        is_allowed, is_accepted = allowed.is_valid(body), accepts(dialect, json.dumps(body).encode())
        assert is_accepted <= is_allowed, f"accepted, though the document forbids it: {field} = {value!r:.80}"
        assert is_allowed <= is_accepted or isinstance(value, vague), (
            f"refused, though the document allows it: {value!r:.80}"
        )


@pytest.mark.parametrize("field", sorted({*OWN, "image_size", "seed", "sample_shift", "infer_steps", "image_url"}))
def test_a_value_that_does_not_count_is_checked_all_the_same(field: str) -> None:
    wins: dict[str, Any] = {
        "num_frames": 25, "size": "832x480", "flow_shift": 3.0, "num_inference_steps": 20, "width": 832, "height": 480,
        "seed": 1, "fps": 16, "n": 1, "num_outputs_per_prompt": 1, "seconds": 5,
    }  # fmt: skip
    good = {**REQUESTS["/v1/videos"][1], **wins}
    assert accepts(VIDEOS, json.dumps(good).encode())
    for faulty in ({"extra_params": {field: 0.25 if field == "image_url" else []}}, {field: []}):
        assert not accepts(VIDEOS, json.dumps({**good, **faulty}).encode())


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/video/submit", {"metadata[order]": "17"}),
        ("/v1/videos", {"metadata[order]": "17"}),
        ("/v1/videos", {"extra_body[seed]": "7"}),
        ("/v1/videos", {"user[name]": "x"}),
        ("/v1/videos", {"input_references[]": URL}),
        ("/v1/videos", {"image_reference[image_url]": URL}),
    ],
)
def test_a_part_of_a_form_may_be_a_member_of_a_field(path: str, parts: dict[str, str]) -> None:
    dialect, good = REQUESTS[path]
    is_picture = any(name.partition("[")[0] in dialect.parts.references for name in parts)
    texts = {name: value for name, value in good.items() if not (is_picture and value == URL)} | parts
    assert accepts(dialect, json_of(texts.items(), dialect.parts.strings))
    form = validator({**body_schema(path, "multipart/form-data"), "required": [], "anyOf": [{}]})
    assert form.is_valid(parts)
    assert not form.is_valid({"seed[x]": "1"})
