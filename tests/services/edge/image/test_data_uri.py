"""`data:` URIs as the Fetch standard processes them, with the spellings that clients really send."""

import base64
import random
import textwrap
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

import pytest

from services.edge.image.data_uri import STRAYS_MAX, BadDataUri, decode_data_uri, is_inline

BYTES = random.Random(1).randbytes(1000) + b"\xff\xfb\xef\xbe"
PLAIN = base64.b64encode(BYTES).decode()
LINES = "\n".join(textwrap.wrap(PLAIN, 76))
URL_SAFE = base64.urlsafe_b64encode(BYTES).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/jpeg;base64,{PLAIN}",
        f"data:image/jpeg;base64,{LINES}",
        f"data:image/jpeg;base64,{LINES}\n".replace("\n", "\r\n"),
        f"data:image/jpeg;base64, {PLAIN}\t",
        f"data:image/jpeg;base64,{PLAIN.rstrip('=')}",
        f"data:image/jpeg;base64,{URL_SAFE}",
        f"data:image/jpeg;base64,{URL_SAFE.rstrip('=')}",
        f"data:image/jpeg;base64,{quote(PLAIN, safe='')}",
        f"data:image/jpeg;base64,{quote(LINES, safe='')}",
        f"data:image/jpeg;charset=utf-8;base64,{PLAIN}",
        f"data:image/jpeg;name=cat.jpg;base64,{PLAIN}",
        f'data:image/jpeg;name="a b.jpg" ; base64,{PLAIN}',
        f"data:application/octet-stream;base64,{PLAIN}",
        f"data:;base64,{PLAIN}",
        f"data:image/*;base64,{PLAIN}",
        f"DATA:IMAGE/JPEG;BASE64,{PLAIN}",
        f"data:base64;base64,{PLAIN}",
        f"data:image/jpeg;base64,{PLAIN}#preview",
        f" data:image/jpeg;base64,{PLAIN}",
        f"\n\t data:image/jpeg;base64,{PLAIN}\n",
        f"\x00\x1f{' ' * 2000}data:image/jpeg;base64,{PLAIN}\x00\x0b \x1f",
        f"da\nta:image/jpeg;base64,{PLAIN}",
        f"\r\nd\ta\nt\ra\r\n:image/jpeg;ba\nse64\t,{PLAIN}",
        f"{' ' * 2000}d{chr(10) * 2000}ata:;base64,{PLAIN}",
        f"data:image/jpeg,{quote_from_bytes(BYTES)}",
        f" \x00data:image/jpeg,{quote_from_bytes(BYTES)}\n",
        "data:," + "".join(f"%{byte:02x}" for byte in BYTES),
    ],
)
def test_every_spelling_of_the_standard_means_the_same_bytes(uri: str) -> None:
    assert is_inline(uri)
    assert decode_data_uri(uri.encode()) == BYTES


@pytest.mark.parametrize(
    "url",
    ["", " ", "data", "d ata:,", "\u00a0data:,", "xdata:,", "https://example.com/data:,", "d" + "\n" * 30_000_000],
)
def test_what_does_not_begin_as_a_data_uri_is_none(url: str) -> None:
    assert not is_inline(url)


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/jpeg;base64,b'{PLAIN}'",
        f"data:image/jpeg;base64,data:image/jpeg;base64,{PLAIN}",
        f"data:image/jpeg;base64,{PLAIN}A",
        f"data:image/jpeg;base64,{PLAIN.rstrip('=')}===",
        "data:image/jpeg;base64,=",
        "data:image/jpeg;base64,YQ=a",
        "data:image/jpeg;base64,猫",
        "data:undefined;base64,undefined",
        f"data:image/jpeg;base64{PLAIN[:500]}",
        "data:",
        f"data:{' ' * 2000},a",
        "data:," + "%" * STRAYS_MAX,
    ],
)
def test_what_the_standard_refuses_is_refused(uri: str) -> None:
    with pytest.raises(BadDataUri):
        decode_data_uri(uri.encode())


def test_percent_signs_are_decoded_as_the_standard_has_it() -> None:
    draw = random.Random(2)
    for _ in range(2000):
        body = bytes(draw.choice(b"%%%4aA1=_z\xff\x00 ") for _ in range(draw.randrange(40)))
        assert decode_data_uri(b"data:," + body) == unquote_to_bytes(body)


def test_a_base64_text_without_anything_to_forgive_is_what_the_forgiving_reader_makes_of_it() -> None:
    draw = random.Random(3)
    for _ in range(5000):
        text = "".join(draw.choice("AQgw9+/=") for _ in range(draw.randrange(14)))
        readings: list[bytes | str] = []
        for uri in (f"data:;base64,{text}", f"data:;base64,{text}\n"):  # the line break is forgiven
            try:
                readings.append(decode_data_uri(uri.encode()))
            except BadDataUri as error:
                readings.append(str(error))
        assert readings[0] == readings[1]
