"""The refusal of a body that is not JSON: place and reason, and nothing of the body's content."""

import json
import mmap
import tempfile
import time

import pytest

from services.edge.body.body_reader import read
from services.edge.body.dialect import JOBS
from services.edge.body.submission import parse
from services.edge.errors import Invalid

PROMPT = "a secret boat sails over the sea"
GOOD = f'{{"prompt":"{PROMPT}","image_url":"http://example.org/a.png"'.encode()
REST = b',"image_url":"http://example.org/a.png"}'


def refusal(body: bytes) -> str:
    """Return the objection to a body, which is the same from the event loop's parser and from the child's."""
    with pytest.raises(Invalid) as refused:
        parse(body)
    if body:
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            with pytest.raises(Invalid) as in_child:
                read(JOBS.name, file.fileno(), -1)
        assert in_child.value.objections == refused.value.objections
    [objection] = refused.value.objections
    assert objection.field == "body"
    assert "secret" not in objection.message
    return objection.message


@pytest.mark.parametrize(
    ("body", "reason", "at"),
    [
        (GOOD + b",}", "a comma after the last field", len(GOOD) + 1),
        (GOOD + b',"x":[1,]}', "a comma after the last value", len(GOOD) + 8),
        (b'{"prompt":"a\nb"}', "a line break in a text", 12),
        (b'{"prompt":"a\r\nb"}', "a line break in a text", 12),
        (b'{"prompt":"a\tb"}', "a tab in a text", 12),
        (b'{"prompt":"a\x00b"}', "a control character in a text", 12),
        (GOOD, "it ends before the object does", len(GOOD)),
        (b'{"prompt":"a secret', "it ends before the object does", 19),
        (GOOD + b"}}", "more text after the end", len(GOOD) + 1),
        (GOOD + b"} {}", "more text after the end", len(GOOD) + 2),
        (b"{'prompt':'a secret'}", "a quote that JSON does not have", 1),
        (b'{"prompt":\xe2\x80\x9csecret\xe2\x80\x9d}', "a quote that JSON does not have", 10),
        (b'{prompt:"secret"}', "a name without double quotes", 1),
        (b'{"seed":None}', "a word that JSON does not have", 8),
        (b'{"seed":NaN}', "a word that JSON does not have", 8),
        (b'{"keep_aspect":True}', "a word that JSON does not have", 15),
        (b'{"seed":01}', "a number that is none", 9),
        (b'{"seed":}', "a value is missing", 8),
        (b'{"seed" 1}', "a colon is missing", 8),
        (b'{"seed":1 "prompt":"secret"}', "a comma or a closing brace is missing", 10),
        (b'{"prompt":"say "secret" loud"}', "a comma or a closing brace is missing", 16),
        (b'{"seed":1, // secret\n}', "a comment", 11),
        (b'{"prompt":"C:\\secret"}', "a backslash that escapes nothing", 14),
        (b'{"prompt":"\\u12"}', "four hexadecimal digits", 16),
        ('{"prompt":"secret é"}'.encode("latin-1"), "it is not in UTF-8", 18),
        (b'{"prompt":"\xed\xa0\xbd secret"}', "it is not in UTF-8", 11),
        (b"\xef\xbb\xbf{,}", "a name in double quotes is missing", 4),
        (b"prompt=a+secret", "it does not begin as an object does", 0),
        (b"<secret/>", "it does not begin as an object does", 0),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_place_and_reason(body: bytes, reason: str, at: int) -> None:
    message = refusal(body)
    assert message.startswith("the body is not JSON: ")
    assert reason in message
    assert message.endswith(f", at byte {at}")


def test_the_line_is_told_where_there_are_several() -> None:
    assert refusal(b'{\n "seed": 1,\n}').endswith("a comma after the last field, at byte 14 (line 3)")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"), (b" \n", "it is empty"), (b"\xef\xbb\xbf", "it is empty"),
        (b"\x1f\x8b\x08\x00secret", "it is compressed with gzip"), (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
        ('{"a":"secret"}'.encode("utf-16"), "it is in UTF-16"), ('{"a":1}'.encode("utf-16-le"), "it is in UTF-16"),
        ('{"a":1}'.encode("utf-32"), "UTF-32"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_text_is_refused_as_what_it_is(body: bytes, reason: str) -> None:
    assert reason in refusal(body)


@pytest.mark.parametrize(
    "half", ["\\ud83d", "\\udc00", "\\uD83D", "\\ud83d\\u0041", "\\udc00\\ud83d", "\\ud83d\\\\u0041"]
)
def test_half_an_emoji_becomes_the_replacement_character(half: str) -> None:
    body = b'{"prompt":"a boat sails ' + half.encode() + b'"' + REST
    expected = json.loads(b'"a boat sails ' + half.encode() + b'"').encode("utf-16", "surrogatepass")
    assert parse(body).prompt == expected.decode("utf-16", "replace")


@pytest.mark.parametrize("whole", ["\\ud83d\\ude00", "\\\\ud83d", "\\\\\\\\ud83d", "\\\\ud83d \\ud83d\\ude00"])
def test_a_whole_emoji_and_an_escaped_backslash_stay_as_they_are_beside_half_of_another(whole: str) -> None:
    body = b'{"prompt":"a boat sails ' + whole.encode() + b'","negative_prompt":"\\ud83d"' + REST
    assert parse(body).prompt == json.loads(b'"a boat sails ' + whole.encode() + b'"')


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b"\xef\xbb\xbf" + GOOD + b"}").prompt == PROMPT
    with pytest.raises(Invalid, match="size is not a field"):
        parse(b"\xef\xbb\xbf" + GOOD + b',"size":1}')


@pytest.mark.slow
@pytest.mark.parametrize(
    "filling",
    [b"\\ud83d", b"\\\\", b"\\ud83d\\ude00", b"\\n", "猫".encode(), b"\\ud83d\\u0041", b"\n"],
    ids=lambda filling: filling.decode(),
)
def test_reading_costs_what_the_size_says_whatever_is_wrong(filling: bytes) -> None:
    """The child may compute for ten seconds."""
    with tempfile.TemporaryFile() as file:
        file.write(b'{"prompt":"' + filling * (30 * 1024 * 1024 // len(filling)) + b'\xff\\ud83d"' + REST)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            began = time.process_time()
            with pytest.raises(Invalid) as refused:
                parse(body)
            assert time.process_time() - began < 5
            del refused
