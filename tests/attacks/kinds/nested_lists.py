"""Four clients, each with one submission after the other whose seed is ten million lists, beside an unknown field."""

from tests.attacks.bodies import PROMPT, press_on, submission
from tests.attacks.pressure import Pressure

TITLE = "4 × 30 MB of lists as a field, again and again"
COUNT = 4
LISTS = 9_900_000


async def press(pressure: Pressure) -> None:
    request = submission(b'{"prompt":"' + PROMPT.encode() + b'","x":1,"seed":[' + b"[]," * LISTS + b"[]]}")
    await press_on(pressure, COUNT, lambda: request)
