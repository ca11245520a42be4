"""Eight clients, each with one submission after the other of a small file that is dear to decode."""

import base64
import itertools

from tests.attacks.bodies import document, press_on, submission
from tests.attacks.pressure import Pressure
from tests.services.edge.dear import filled_jpeg, many_scans, many_segments, tiny_webp

TITLE = "8 clients with cheap pictures for dear work, again and again"
HOLD_S = 40.0
COUNT = 8


async def press(pressure: Pressure) -> None:
    pictures = [tiny_webp(), many_scans(), tiny_webp(), many_segments(), filled_jpeg()]
    requests = itertools.cycle(
        submission(document(f"data:image/png;base64,{base64.b64encode(picture).decode()}")) for picture in pictures
    )
    await press_on(pressure, COUNT, lambda: next(requests))
