"""The reading of forms: they say what JSON says, are refused in the same words, and cheaply where they are hostile."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.edge.body import form as reading
from services.edge.body.bodies import Bodies, Content, Submission
from services.edge.body.dialect import JOBS, VIDEOS, Dialect
from services.edge.body.form import PART_HEADERS_MAX, PARTS_MAX, TEXTS_BYTES_MAX
from services.edge.body.form_text import json_of
from services.edge.body.idempotency import fingerprint
from services.edge.body.submission import parse
from services.edge.errors import Invalid
from services.edge.resources.sandbox import Sandbox
from tests.services.edge.body.forms import BOUNDARY, FIELDS, form, noise, part, png, uri, whole

PIECES = (1, 7, 1000, 65536)


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(
    body: bytes,
    use: Callable[[Submission], Any] = lambda asked: asked.request,
    *,
    dialect: Dialect = JOBS,
    size: int = 65536,
    boundary: str = BOUNDARY,
) -> Any:
    """Return the result of `use` on the submission in a form, while its spools are open. No child is started."""
    bodies = Bodies(Sandbox())
    with bodies.spool() as spool, bodies.spool() as text:
        return use(await bodies.read(Content(pieces(body, size), dialect, boundary), spool, text))


async def refusal(body: bytes, **options: Any) -> str:
    with pytest.raises(Invalid) as refused:
        await read(body, **options)
    assert len(str(refused.value)) < 500
    return str(refused.value)


def content(asked: Submission) -> bytes:
    assert asked.picture is not None
    with asked.picture.mapped() as pages:
        return bytes(pages)


@pytest.mark.parametrize("size", PIECES)
async def test_a_form_says_what_json_says_in_whatever_pieces_it_comes(size: int) -> None:
    values = {
        **FIELDS,
        "keep_aspect": "true",
        "seed": "",
        "guidance_scale": "5",
        "negative_prompt": "12",
        "metadata": '{"a":"1"}',
    }
    body = form(**values, image=png())
    said = {
        **FIELDS, "num_frames": 25, "infer_steps": 20, "keep_aspect": True, "guidance_scale": 5,
        "negative_prompt": "12", "metadata": {"a": "1"}, "image_url": "data:",
    }  # fmt: skip
    assert await read(body, size=size) == parse(json.dumps(said).encode())
    assert await read(body, content, size=size) == png()


async def test_nested_names_are_members_of_objects() -> None:
    body = form(**FIELDS, **{"metadata[order]": "17", "metadata[who]": "true"}, image=png())
    assert (await read(body)).metadata == {"order": "17", "who": "true"}


async def test_a_picture_may_be_named_by_its_address_instead() -> None:
    assert (await read(form(**FIELDS, image_url="https://example.org/a.png"))).image_url == "https://example.org/a.png"
    small = uri(png())
    assert (await read(form(**FIELDS, image_url=small))).image_url == small


async def test_a_large_address_stays_on_disk_and_counts_as_in_json() -> None:
    large = uri(noise())

    def check(asked: Submission) -> None:
        assert asked.request.image_url == "data:"
        assert asked.inline is not None
        in_json = Submission(
            parse(json.dumps({**FIELDS, "num_frames": 25, "infer_steps": 20, "image_url": large}).encode())
        )
        assert fingerprint(b"s", asked) == fingerprint(b"s", in_json)

    await read(form(**FIELDS, image_url=large), check)


async def test_a_form_with_another_boundary_is_the_same_request_and_one_with_another_picture_is_not() -> None:
    def of(asked: Submission) -> str:
        return fingerprint(b"secret", asked)

    first = await read(form(**FIELDS, image=png()), of)
    again = form("another", image=png(), **FIELDS)
    assert await read(again, of, boundary="another") == first
    assert await read(form(**FIELDS, image=png(color="red")), of) != first
    assert await read(form(**FIELDS, seed="1", image=png()), of) != first


@pytest.mark.parametrize(
    "wrong",
    [{"num_frames": "abc"}, {"num_frames": "121"}, {"seed": "1.5"}, {"keep_aspect": "yes"}, {"metadata": "text"},
     {"sample_solver": "12"}, {"seed": "NaN"}, {"sede": "1"}, {"num_frames": "[[]"}],
    ids=str,
)  # fmt: skip
async def test_a_faulty_field_is_refused_in_the_words_of_json(wrong: dict[str, str]) -> None:
    said = await refusal(form(**{**FIELDS, **wrong}, image=png()))
    name, text = next(iter(wrong.items()))
    try:
        value = json.loads(text) if name != "sample_solver" and text != "NaN" else text
    except ValueError:
        value = text
    with pytest.raises(Invalid) as in_json:
        parse(json.dumps({**FIELDS, "num_frames": 25, "infer_steps": 20, "image_url": "data:", name: value}).encode())
    assert said == str(in_json.value)


@pytest.mark.parametrize("side", [64, 800])
@pytest.mark.parametrize(("dialect", "right"), [(JOBS, "image"), (VIDEOS, "input_reference")])
async def test_a_picture_under_another_name_is_told_the_right_one(dialect: Dialect, right: str, side: int) -> None:
    said = await refusal(form(prompt=FIELDS["prompt"], photo=noise(side)), dialect=dialect)
    assert said == f"photo is a file; the picture is the part {right}"


async def test_every_faulty_field_is_named_at_once() -> None:
    said = await refusal(form(prompt="short", num_frames="7", more="1", image=png()))
    assert all(words in said for words in ("more is not a field", "prompt was", "num_frames was 7"))


async def test_a_form_without_a_picture_is_refused() -> None:
    assert "image_url is missing" in await refusal(form(**FIELDS))
    assert "image is empty" in await refusal(form(**FIELDS, image=b""))


def broken(text: bytes) -> bytes:
    return whole(part("prompt", FIELDS["prompt"]), text)


HOSTILE = {
    "nothing": (b"", "Unexpected end"),
    "no last boundary": (form(**FIELDS, image=png())[:-5], "Unexpected end"),
    "cut within a part": (part("image", png())[:-9], "Unexpected end"),
    "an endless preamble": ((b"x" * 70 + b"\r\n") * 2000 + form(**FIELDS), "no part begins"),
    "very many parts": (whole(*(part(f"x{n}", "") for n in range(PARTS_MAX + 1))), "segment count"),
    "a long head": (broken(part("x", "1", "X-Long: " + "a" * 5000)), "header length"),
    "a head without an end": (f"--{BOUNDARY}\r\nX-Long: ".encode() + b"a" * 5000, "header length"),
    "many headers": (broken(part("x", "1", *(f"X-{n}: 1" for n in range(PART_HEADERS_MAX)))), "header count"),
    "no name": (broken(part("", "1", disposition="form-data")), "a part has no name"),
    "an empty name": (broken(part("", "1")), "a part has no name"),
    "no disposition": (broken(f"--{BOUNDARY}\r\nX-A: 1\r\n\r\n1\r\n".encode()), "Content-Disposition"),
    "another disposition": (broken(part("x", "1", disposition='attachment; name="x"')), "Content-Disposition"),
    "parts in a part": (broken(part("seed", "1", "Content-Type: multipart/mixed; boundary=b")), "seed holds further"),
    "base64": (broken(part("seed", "MQ==", "Content-Transfer-Encoding: base64")), "seed must be sent as it is"),
    "no UTF-8": (broken(part("negative_prompt", b"\xff", disposition='form-data; name="negative_prompt"')), "UTF-8"),
    "a field twice": (form(**FIELDS)[:-16] + form(prompt="x"), "prompt came twice"),
    "two pictures": (whole(part("image", png()), part("image", png())), "give one picture"),
    "a picture in two ways": (form(image=png(), image_url="https://example.org/a.png"), "give one picture"),
    "a value that is none": (form(**FIELDS, **{"seed[a]": "1", "seed": "1"}), "seed came twice"),
    "a long text": (form(prompt="x" * (TEXTS_BYTES_MAX + 1)), "prompt is too long"),
    "many long texts": (form(**{f"x{n}": "x" * 9000 for n in range(8)}), "is too long"),
    "a long address": (form(**FIELDS, image_url="https://" + "x" * 70_000), "only a data: URI"),
}


@pytest.mark.parametrize("size", [1000, 65536])
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_form_is_refused_with_the_reason(name: str, size: int) -> None:
    body, reason = HOSTILE[name]
    assert reason in await refusal(body, size=size)


async def test_what_follows_the_last_boundary_does_not_matter() -> None:
    assert await read(form(**FIELDS, image=png()) + b"\r\n" + b"x" * 5000, size=1000)


async def test_a_picture_over_the_limit_is_refused_before_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IMAGE_BYTES_MAX", 1024**2)
    body = part("prompt", FIELDS["prompt"]) + part("image", noise())
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in pieces(body, 65536):
            taken += len(piece)
            yield piece

    bodies = Bodies(Sandbox())
    with bodies.spool() as spool, bodies.spool() as text, pytest.raises(Invalid, match="image is larger than 1 MB"):
        await bodies.read(Content(counted(), JOBS, BOUNDARY), spool, text)
    assert taken < 1024**2 + 3 * 65536


async def test_a_large_reference_in_json_is_read_by_a_child() -> None:
    large = uri(noise())

    def check(asked: Submission) -> None:
        assert asked.inline is not None
        with asked.inline.mapped() as text:
            assert text[:] == large.encode()

    none = form(prompt="a", image_reference=json.dumps({"image_url": 1, "x": "x" * 70_000}))
    async with Sandbox() as sandbox:
        bodies = Bodies(sandbox)
        for reference in (json.dumps({"image_url": large}), json.dumps([{"image_url": large}])):
            with bodies.spool() as spool, bodies.spool() as text:
                body = form(prompt="a", image_reference=reference)
                check(await bodies.read(Content(pieces(body, 65536), VIDEOS, BOUNDARY), spool, text))
        with bodies.spool() as spool, bodies.spool() as text, pytest.raises(Invalid, match="image_reference"):
            await bodies.read(Content(pieces(none, 65536), VIDEOS, BOUNDARY), spool, text)


def test_texts_become_the_json_that_they_are() -> None:
    texts = [("a", "True"), ("b", " 7 "), ("c", ""), ("d", "null"), ("e", "x"), ("f", "7"), ("g[]", "1"), ("g[]", "z")]
    expected = {"a": True, "b": 7, "c": None, "d": None, "e": "x", "f": "7", "g": [1, "z"]}
    assert json.loads(json_of(texts, frozenset({"f"}))) == expected
