import asyncio

import pytest

from services.edge.errors import Overloaded
from services.edge.resources.budget import Budget


async def take(budget: Budget, size: int) -> None:
    """Claim so much, and give it back at once."""
    async with budget.claim(size):
        pass


async def test_shares_are_given_in_the_order_of_asking_and_never_more_than_there_is() -> None:
    budget, order = Budget(10, within_s=30), list[int]()

    async def claim(size: int) -> None:
        async with budget.claim(size):
            order.append(size)

    async with asyncio.TaskGroup() as tasks, budget.claim(6):
        tasks.create_task(claim(5))
        await asyncio.sleep(0)
        tasks.create_task(claim(1))
        await asyncio.sleep(0)
        assert order == []
    assert order == [5, 1]


async def test_waiting_for_a_share_has_an_end_and_keeps_nobody_behind_it() -> None:
    budget = Budget(10, within_s=0.2)
    async with budget.claim(6):
        large = asyncio.create_task(take(budget, 5))
        await asyncio.sleep(0)
        small = asyncio.create_task(take(budget, 4))
        with pytest.raises(Overloaded):
            await large
        await small


async def test_small_shares_never_wait_behind_large_ones() -> None:
    budget = Budget(100, within_s=30)
    async with budget.claim(60):
        large = asyncio.create_task(take(budget, 50))
        await asyncio.sleep(0)
        async with asyncio.timeout(5), budget.claim(3), budget.claim(3):
            assert not large.done()
    await large


async def test_what_is_larger_than_the_whole_budget_has_all_of_it() -> None:
    budget = Budget(10, within_s=0.01)
    async with budget.claim(11):
        with pytest.raises(Overloaded):
            await take(budget, 1)
    async with budget.claim(10):
        pass


async def test_a_claim_that_is_cancelled_leaves_nothing_taken() -> None:
    budget = Budget(10, within_s=30)
    async with budget.claim(10):
        waiting, granted = (asyncio.create_task(take(budget, 10)) for _ in range(2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    granted.cancel()
    await asyncio.wait([granted])
    async with budget.claim(10):
        pass
