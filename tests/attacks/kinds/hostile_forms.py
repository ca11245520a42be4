"""Twenty clients that send one hostile form after the other: what looks like boundaries, no part, very many parts."""

import itertools

from tests.attacks.bodies import press_on
from tests.attacks.pressure import Pressure
from tests.services.edge.talk import post

TITLE = "20 clients of hostile forms, up to 28 MB"
COUNT = 20
BYTES = 28_000_000
BOUNDARY = "b" * 60
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'


def form(body: bytes) -> bytes:
    lines = ("Connection: close", f"Content-Length: {len(body)}")
    return post("/video/submit", *lines, content_type=f"multipart/form-data; boundary={BOUNDARY}") + body


FORMS = [
    form((PART % "image").encode() + f"\r\n--{BOUNDARY[:-1]}".encode() * (BYTES // 63)),
    form((PART % "image").encode() + b"\r" * BYTES),
    form(b"\r\n" * (BYTES // 2)),
    form("".join(f"{PART % number}\r\n" for number in range(200_000)).encode()[:BYTES]),
    form(f"--{BOUNDARY}\r\n".encode() + b"X: " + b"a" * BYTES),
    form((PART % "prompt").encode() + b"x" * BYTES),
]


async def press(pressure: Pressure) -> None:
    forms = itertools.cycle(FORMS)
    await press_on(pressure, COUNT, lambda: next(forms))
