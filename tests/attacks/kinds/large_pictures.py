"""Sixty submissions of 27 MB at once, each with a picture of 20 MB that is good."""

import asyncio

from tests.attacks.bodies import document, exchange, inline, large_picture, submission
from tests.attacks.pressure import Pressure

TITLE = "60 × 27 MB of pictures at once"
HOLD_S = 60.0
COUNT = 60


async def press(pressure: Pressure) -> None:
    request = submission(document(inline(large_picture())))
    sent = [asyncio.create_task(exchange(pressure, request)) for _ in range(COUNT)]
    await asyncio.sleep(0)
    pressure.stands()
    await asyncio.gather(*sent)
    await asyncio.get_running_loop().create_future()
