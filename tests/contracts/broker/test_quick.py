import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import nats.errors
import pytest
from nats.aio.msg import Msg

from contracts.broker.quick import QuickClient
from tests.kit.broker import Broker

ECHO, LATE, NOBODY = "echo", "late", "nobody"
WITHIN_S = 5.0


@asynccontextmanager
async def client(broker: Broker) -> AsyncGenerator[QuickClient, None]:
    """A client, with a responder that gives back what it gets, and one that never answers."""
    made = QuickClient()
    await made.connect(broker.url)

    async def echo(message: Msg) -> None:
        await made.publish(message.reply, message.data)

    async def never(_: Msg) -> None:
        pass

    try:
        await made.subscribe(ECHO, cb=echo)
        await made.subscribe(LATE, cb=never)
        yield made
    finally:
        await made.close()


async def test_each_answer_reaches_the_one_who_asked_also_if_another_gave_up(broker: Broker) -> None:
    async with client(broker) as made:
        asking = [asyncio.create_task(made.quick(ECHO, b"%d" % at, within_s=WITHIN_S)) for at in range(20)]
        await asyncio.sleep(0)
        asking[7].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(answers.pop(7), asyncio.CancelledError)
        expected = [(b"", b"%d" % at) for at in range(20) if at != 7]
        assert answers == expected
        assert await made.quick(ECHO, b"again", within_s=WITHIN_S) == (b"", b"again")


async def test_no_answer_and_nobody_who_could_give_one_are_told_apart(broker: Broker) -> None:
    async with client(broker) as made:
        with pytest.raises(TimeoutError):
            await made.quick(LATE, b"", within_s=0.05)
        with pytest.raises(nats.errors.NoRespondersError):
            await made.quick(NOBODY, b"", within_s=WITHIN_S)
