import json
import unicodedata
from typing import Any

import pytest
from msgspec import UNSET

from contracts.job import JobRequest
from contracts.prompt import PROMPT_RULE, prompt_weight
from services.edge.body.submission import parse
from services.edge.errors import Invalid

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
        "steps": "steps is not a field; did you mean infer_steps?",
        "prompt": f'prompt was "short"; it may be {PROMPT_RULE}',
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


@pytest.mark.parametrize(
    "metadata",
    [{f"k{n}": "" for n in range(17)}, {"": "v"}, {"k" * 65: "v"}, {"k": "v" * 513}, {"k": 1}, {"k": None}, [], "text"],
)
def test_metadata_is_an_object_of_few_short_texts(metadata: Any) -> None:
    assert "it may be an object of up to 16 texts" in faults(metadata=metadata)["metadata"]


def test_metadata_has_two_kilobytes_at_most() -> None:
    most = {f"k{n}": "v" * 512 for n in range(3)} | {"last": ""}
    most["last"] = "v" * (2048 - len(json.dumps(most, separators=(",", ":"))))
    assert parse(json.dumps({**GOOD, "metadata": most}).encode()).metadata == most
    assert faults(metadata={**most, "one": "é"})["metadata"].startswith("metadata was 2059 bytes of JSON")


def test_a_model_has_a_name() -> None:
    assert "it may be the name of a served model, or default" in faults(model="")["model"]
    assert parse(json.dumps({**GOOD, "model": None}).encode()).model is UNSET


def test_ten_unknown_fields_are_named_and_the_rest_counted_beside_every_faulty_known_one() -> None:
    found = faults(prompt="short", seed="one", **{f"x{number}": number for number in range(13)})
    assert set(found) == {"prompt", "seed", "body", *(f"x{number}" for number in range(10))}
    assert found["x9"] == "x9 is not a field"
    assert found["body"] == "3 more names are not fields"


def test_a_name_that_comes_twice_is_one_field_and_its_last_value_counts() -> None:
    body = json.dumps(GOOD).encode()[:-1] + b',"seed":1,"seed":2}'
    assert parse(body).seed == 2
    with pytest.raises(Invalid) as refusal:
        parse(body[:-1] + b"," + b",".join([b'"x":1'] * 50) + b',"seed":"one"}')
    assert [objection.field for objection in refusal.value.objections] == ["x", "seed"]


def test_a_name_may_be_written_with_escapes() -> None:
    body = json.dumps(GOOD).encode()[:-1] + b',"s\\u0065ed":7}'
    assert parse(body).seed == 7
    with pytest.raises(Invalid) as refusal:
        parse(body[:-1] + b',"\\u0078":0}')
    assert str(refusal.value) == "x is not a field"


LONG = 300_000


@pytest.mark.parametrize(
    "member",
    [
        b'"prompt":"' + b"x" * LONG + b'"',
        b'"prompt":"' + "猫".encode() * LONG + b'"',
        b'"prompt":' + b"1" * LONG,
        b'"prompt":-1.' + b"1" * LONG,
        b'"prompt":1e400',
        b'"seed":' + b"9" * LONG,
        b'"guidance_scale":1' + b"0" * 1000,
        b'"guidance_scale":-1e99999999999',
        b'"seed":[' + b"[]," * LONG + b"1]",
        b'"seed":{' + b",".join(b'"%d":{}' % number for number in range(LONG)) + b"}",
        b'"seed":' + b"[" * 900 + b"]" * 900,
        b'"seed":' + b"[" * LONG + b"]" * LONG,
        b'"x":' + b"[" * 900 + b"]" * 900,
        b'"x":"' + b'\\"' * LONG + b'"',
        b'"' + b"x" * LONG + b'":1',
        b'"' + "猫".encode() * LONG + b'":1',
        b'"' + b"\\u732b" * LONG + b'":1',
        b",".join(b'"%d":{"a":[1,"]"]}' % number for number in range(LONG // 10)),
        b",".join([b'"prompt":0'] * LONG),
        b'"image_url":"http://' + b"x" * LONG + b'"',
        b'"image_url":7,"num_frames":[' + b"0," * LONG + b"0]",
    ],
    ids=lambda member: member[:12].decode(errors="ignore"),
)
def test_whatever_is_wrong_the_answer_has_few_words(member: bytes) -> None:
    with pytest.raises(Invalid) as refusal:
        parse(json.dumps(GOOD).encode()[:-1] + b"," + member + b"}")
    details = refusal.value.objections
    assert 1 <= len(details) <= 12
    assert sum(len(detail.field.encode()) + len(detail.message.encode()) for detail in details) < 4096


def test_a_nest_that_cannot_be_followed_is_named_beside_what_else_is_wrong() -> None:
    body = json.dumps({**GOOD, "seed": "one"}).encode()[:-1] + b',"y":1,"x":' + b"[" * 40 + b"]" * 40 + b',"z":1}'
    with pytest.raises(Invalid) as refusal:
        parse(body)
    assert {objection.field for objection in refusal.value.objections} == {"seed", "y", "body"}
    assert "nests deeper than 16 levels" in str(refusal.value)


@pytest.mark.parametrize(
    "wrong", [b'{"a":tru}', b'{"a":1,}', b'{"a":[1,,2]}', b'{"a" 1}', b'{"a":[}', b"{} {}", b'{"a":"\x01"}']
)
def test_what_is_no_json_is_told_as_that_also_in_unknown_fields(wrong: bytes) -> None:
    with pytest.raises(Invalid, match="not JSON"):
        parse(wrong)


@pytest.mark.parametrize(
    "prompt",
    [
        "小猫在草地上奔跑", "海浪拍打沙滩", "猫が歩いている", "고양이가 걷는다", "镜头推近",
        "ﾈｺｶﾞﾊｼﾙ", "ㅋㅋㅋㅋ", "猫 cat run",
        "\U00030000\U00031350\U0002a700\U0002f800", "ねこねこ", "𛀀𛀁𛀂𛀃", "ㄇㄠㄇㄧ", "人々々々",
    ],
)  # fmt: skip
def test_a_sentence_in_chinese_japanese_or_korean_is_long_enough(prompt: str) -> None:
    assert parse(json.dumps({**GOOD, "prompt": prompt}).encode()).prompt == prompt


@pytest.mark.parametrize(
    "prompt", ["猫猫猫", "고양이", "ねこ ca", "a cat runs"[:9], "。" * 9, "\u3164" * 9, "кот идёт "]
)
def test_a_prompt_that_says_next_to_nothing_is_too_short_in_every_script(prompt: str) -> None:
    message = faults(prompt=prompt)["prompt"]
    assert "text from 10 to 500 characters, of which a Chinese, Japanese or Korean one counts as 3" in message


def test_a_prompt_weighs_the_same_however_its_characters_are_composed() -> None:
    for prompt in ("고양이", "고양이가 걷는다", "がぎぐげ"):
        composed, taken_apart = (prompt_weight(unicodedata.normalize(form, prompt)) for form in ("NFC", "NFD"))
        assert composed == taken_apart


def test_a_prompt_is_at_most_500_characters_long_in_every_script() -> None:
    assert parse(json.dumps({**GOOD, "prompt": "猫" * 500}).encode())
    assert "prompt" in faults(prompt="猫" * 501)


@pytest.mark.parametrize("name", [field for field in JobRequest.__struct_fields__ if field not in GOOD])
def test_null_is_the_same_as_left_out(name: str) -> None:
    assert parse(json.dumps({**GOOD, name: None}).encode()) == parse(json.dumps(GOOD).encode())


@pytest.mark.parametrize("name", GOOD)
def test_null_in_a_required_field_is_the_same_as_left_out_too(name: str) -> None:
    assert faults(**{name: None})[name].startswith(f"{name} is missing")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("size", "image_size"), ("steps", "infer_steps"), ("image", "image_url"), ("width", "image_size"),
        ("fps", "num_frames"), ("cfg", "guidance_scale"), ("negativePrompt", "negative_prompt"),
        ("num_inference_steps", "infer_steps"), ("guidance", "guidance_scale"), ("imageUrl", "image_url"),
        ("frames", "num_frames"), ("duration", "num_frames"), ("sampler", "sample_solver"), ("shift", "sample_shift"),
        ("promt", "prompt"), ("num_frame", "num_frames"), ("guidence_scale", "guidance_scale"), ("SEED", "seed"),
        ("infer-steps", "infer_steps"), ("flowShift", "sample_shift"), ("keep_aspect_ratio", "keep_aspect"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_answered_with_the_known_one_that_was_meant(name: str, meant: str) -> None:
    assert faults(**{name: 1})[name].startswith(f"{name} is not a field; did you mean {meant}?")


@pytest.mark.parametrize("name", ["zzz", "", "_", "猫", "x1", "authorization", "prompt" * 20])
def test_an_unknown_field_that_is_like_none_is_only_named(name: str) -> None:
    assert faults(**{name: 1})[name[:100]] == f"{name[:100]} is not a field"


def test_auto_is_a_size_that_may_be_asked_for() -> None:
    assert parse(json.dumps({**GOOD, "image_size": "auto"}).encode()).image_size == "auto"
    assert "or auto" in faults(image_size="automatic")["image_size"]


def test_what_a_picture_may_be_is_said_in_words_of_form() -> None:
    assert faults(image_url=7)["image_url"] == (
        "image_url was 7; it may be an http:// or https:// address, or a data: URI with the picture in it"
    )


LARGE = "A" * 100_000


@pytest.mark.parametrize("json_escapes", [True, False])
@pytest.mark.parametrize(
    "before", [" data:", "\n\r\t data:", "\x00\x1f\x08\x0cdata:", "da\nta:", "\tD\rA\nT\tA\n:", " " * 2000 + "data:"]
)
def test_a_large_data_uri_is_taken_with_what_the_url_standard_drops(before: str, json_escapes: bool) -> None:
    url = f"{before}image/png;base64,{LARGE}"
    text = "".join(f"\\u{ord(one):04X}" for one in before) if json_escapes else json.dumps(before)[1:-1]
    body = json.dumps({**GOOD, "image_url": "URL"}).replace("URL", text + url[len(before) :])
    assert parse(body.encode()).image_url == url


@pytest.mark.parametrize("before", ["d ata:", "\u00a0data:", "data", "data\\", "https://example.com/data:"])
def test_whatever_else_is_large_is_no_address(before: str) -> None:
    assert "image_url" in faults(image_url=before + LARGE)


WHOLE = ("num_frames", "infer_steps", "seed", "start_step", "end_step", "attentioncache_interval", "ulysses_size")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("written", ["32.0", "32.000", "3.2e1", "3.2E+1", "320e-1", "32"])
def test_a_number_without_a_fraction_is_a_whole_number_however_it_is_written(name: str, written: str) -> None:
    body = json.dumps({**GOOD, name: "IT"}).replace('"IT"', written)
    found = getattr(parse(body.encode()), name)
    assert (found, type(found)) == (32, int)


def test_the_smallest_and_the_largest_seed_may_be_written_so_too() -> None:
    for written, seed in (("0.0", 0), ("-0.0", 0), ("2147483647.0", 2**31 - 1)):
        found = parse(json.dumps(GOOD)[:-1].encode() + b',"seed":' + written.encode() + b"}").seed
        assert (found, type(found)) == (seed, int)
    assert parse(json.dumps({**GOOD, "cfg_size": 1.0}).encode()).cfg_size == 1


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "written", ["32.5", "-1.0", "1e400", "1e300", "1e16", "NaN", "Infinity", '"32.0"', "[32.0]", "true"]
)
def test_what_is_no_whole_number_stays_none(name: str, written: str) -> None:
    body = json.dumps({**GOOD, name: "IT"}).replace('"IT"', written)
    with pytest.raises(Invalid):
        parse(body.encode())


def test_a_fraction_is_shown_as_it_was() -> None:
    assert faults(infer_steps=20.5)["infer_steps"] == "infer_steps was 20.5; it may be a whole number from 20 to 100"
    assert faults(infer_steps=1e300)["infer_steps"].startswith("infer_steps was 1e300; ")


@pytest.mark.parametrize("name", ["keep_aspect", "vae_parallel", "prompt", "image_size"])
def test_a_number_in_a_field_that_has_none_stays_a_fault(name: str) -> None:
    assert name in faults(**{name: 1.0})
