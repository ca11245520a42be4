import asyncio

import pytest

from contracts.broker import Unavailable
from contracts.next_answer import NextAnswers


class World:
    """Something to look at: each look takes `seen` when it begins, and ends when the test opens its gate."""

    def __init__(self) -> None:
        self.seen = self.looks = 0
        self.gates: list[asyncio.Event] = []
        self.error: Exception | None = None
        self.next: NextAnswers[str, int] = NextAnswers(self._look)

    async def _look(self, _: str) -> int:
        self.looks += 1
        found, error, gate = self.seen, self.error, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if error is not None:
            raise error
        return found

    async def asked(self, count: int) -> list[asyncio.Task[int]]:
        """So many who ask, all of them waiting."""
        tasks = [asyncio.create_task(self.next.get("a")) for _ in range(count)]
        await settled()
        return tasks

    async def end_look(self) -> None:
        self.gates.pop(0).set()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_whoever_asks_after_a_change_sees_the_change_though_a_look_is_under_way() -> None:
    world = World()
    before = await world.asked(1)
    world.seen = 1
    after = await world.asked(3)
    await world.end_look()
    assert await before[0] == 0 and not any(task.done() for task in after)
    world.seen = 2
    last = await world.asked(2)
    await world.end_look()
    assert await asyncio.gather(*after) == [1] * 3
    await world.end_look()
    assert await asyncio.gather(*last) == [2] * 2
    assert world.looks == 3


@pytest.mark.parametrize("which", range(4))
async def test_whoever_is_cancelled_takes_nobody_along(which: int) -> None:
    world = World()
    asking = await world.asked(4)
    asking[which].cancel()
    await settled()
    for _ in range(2):
        if world.gates:
            await world.end_look()
    left = [task for at, task in enumerate(asking) if at != which]
    assert await asyncio.gather(*left) == [0] * 3


async def test_if_all_who_share_a_look_are_cancelled_the_next_asks_anew() -> None:
    world = World()
    asking = await world.asked(3)
    for task in asking:
        task.cancel()
    await settled()
    world.gates.clear()
    (again,) = await world.asked(1)
    await world.end_look()
    assert (await again, world.looks) == (0, 2)


async def test_an_error_reaches_all_who_share_the_look_and_is_not_kept() -> None:
    world = World()
    first = await world.asked(1)
    world.error = Unavailable("no answer")
    sharing = await world.asked(2)
    await world.end_look()
    assert await first[0] == 0
    world.error = None
    later = await world.asked(1)
    await world.end_look()
    assert all(isinstance(task.exception(), Unavailable) for task in sharing)
    await world.end_look()
    assert await later[0] == 0
