"""Four clients, each with one submission after the other of 2.85 million unknown fields."""

from tests.attacks.bodies import PROMPT, press_on, submission
from tests.attacks.pressure import Pressure

TITLE = "4 × 31 MB of unknown fields, again and again"
COUNT = 4
FIELDS = 2_850_000


async def press(pressure: Pressure) -> None:
    fields = b",".join(b'"%06x":0' % number for number in range(FIELDS))
    request = submission(b'{"prompt":"' + PROMPT.encode() + b'",' + fields + b"}")
    await press_on(pressure, COUNT, lambda: request)
