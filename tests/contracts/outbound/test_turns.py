import asyncio
from contextlib import AsyncExitStack

import pytest

from contracts.outbound.overloaded import Overloaded
from contracts.outbound.turns import Turns
from tests.kit.waiting import eventually


def turns(**changes: float) -> Turns:
    limits: dict[str, float] = {"most": 3, "share": 2, "waiting_max": 2, "within_s": 30, **changes}
    return Turns(**limits)  # pyright: ignore[reportArgumentType]


async def test_an_owner_whose_share_is_taken_waits_and_the_others_go_ahead() -> None:
    all_turns, order = turns(), list[str]()

    async def work(owner: str) -> None:
        async with all_turns.turn(owner):
            order.append(owner)

    async with AsyncExitStack() as held:
        await held.enter_async_context(all_turns.turn("a"))
        async with all_turns.turn("a"), asyncio.TaskGroup() as tasks:
            tasks.create_task(work("a"))
            await tasks.create_task(work("b"))
            assert order == ["b"]
            await held.aclose()
    assert order == ["b", "a"]


async def test_no_more_than_most_have_a_turn_whoever_they_are() -> None:
    all_turns = turns(within_s=0.01)
    async with all_turns.turn("a"), all_turns.turn("b"), all_turns.turn():
        with pytest.raises(Overloaded):
            async with all_turns.turn("c"):
                pass
    async with all_turns.turn("c"):
        pass


async def test_a_turn_counts_for_each_of_its_owners() -> None:
    all_turns = turns(within_s=0.01)
    async with all_turns.turn("name", "address"), all_turns.turn("other name", "address"):
        with pytest.raises(Overloaded):
            async with all_turns.turn("third name", "address"):
                pass
        async with all_turns.turn("name", "other address"):
            pass


async def test_few_may_wait_for_one_owner() -> None:
    all_turns = turns(share=1, waiting_max=1)
    began = list[int]()

    async def work(number: int) -> None:
        async with all_turns.turn("a"):
            began.append(number)

    async with all_turns.turn("a"):
        waiting = asyncio.create_task(work(1))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await work(2)
    await waiting
    assert began == [1]


async def test_whoever_is_cancelled_while_waiting_or_as_its_turn_comes_takes_none() -> None:
    all_turns = turns(most=1, share=1)

    async def work() -> None:
        async with all_turns.turn("a"):
            await asyncio.get_running_loop().create_future()

    async with all_turns.turn("a"):
        gone, next_one = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0)
        gone.cancel()
        await eventually(gone.done)
    next_one.cancel()  # it has its turn, and has not heard of it yet
    await asyncio.wait([next_one])
    async with all_turns.turn("a"):
        pass
