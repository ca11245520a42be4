import asyncio
from collections.abc import Callable

import pytest

from contracts.at_once import at_once
from contracts.broker import Unavailable
from contracts.shared_answers import SharedAnswers
from tests.kit.waiting import eventually


class Asked:
    """A question that is answered when the test says so, by how often it was asked; it counts its cancellations."""

    def __init__(self, *, kept_s: float | Callable[[int], float], kept_max: int = 2) -> None:
        self.go = asyncio.Event()
        self.times = self.cancelled = 0
        self.error: Exception | None = None
        self.shared: SharedAnswers[str, int] = SharedAnswers(self._ask, kept_s=kept_s, kept_max=kept_max)

    async def _ask(self, _: str) -> int:
        self.times += 1
        number = self.times
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


async def all_waiting(asked: Asked, *tasks: asyncio.Task[int]) -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asked.times > 0 and not any(task.done() for task in tasks)


async def test_all_who_ask_at_once_get_the_answer_to_one_question() -> None:
    asked = Asked(kept_s=0.0)
    asking = [asyncio.create_task(asked.shared.get("a")) for _ in range(8)]
    await all_waiting(asked, *asking)
    asked.go.set()
    assert await asyncio.gather(*asking) == [1] * 8
    assert await asked.shared.get("a") == 2  # nothing is kept


@pytest.mark.parametrize("which", [0, 1])
async def test_whoever_is_cancelled_takes_nobody_along(which: int) -> None:
    asked = Asked(kept_s=0.0)
    asking = [asyncio.create_task(asked.shared.get("a")) for _ in range(2)]
    await all_waiting(asked, *asking)
    asking[which].cancel()
    await asyncio.wait([asking[which]])
    asked.go.set()
    assert await asking[1 - which] == 1
    assert (asked.times, asked.cancelled) == (1, 0)


async def test_a_question_is_cancelled_with_the_last_who_waits_for_it() -> None:
    asked = Asked(kept_s=60.0)
    asking = [asyncio.create_task(asked.shared.get("a")) for _ in range(2)]
    await all_waiting(asked, *asking)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    await eventually(lambda: asked.cancelled == 1)
    asked.go.set()
    assert await asked.shared.get("a") == 2


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    asked = Asked(kept_s=60.0)
    asked.error = Unavailable("no answer")
    asking = [asyncio.create_task(asked.shared.get("a")) for _ in range(2)]
    await all_waiting(asked, *asking)
    asked.go.set()
    assert await asyncio.gather(*asking, return_exceptions=True) == [asked.error] * 2
    asked.error = None
    assert await asked.shared.get("a") == 2


async def test_an_answer_is_kept_for_its_time_or_until_it_is_forgotten() -> None:
    asked = Asked(kept_s=lambda number: 60.0 if number < 3 else 0.0)
    asked.go.set()
    assert [await asked.shared.get("a") for _ in range(3)] == [1, 1, 1]
    asked.shared.forget("a")
    assert [await asked.shared.get("a") for _ in range(2)] == [2, 2]
    asked.shared.forget("a")
    assert [await asked.shared.get("a") for _ in range(2)] == [3, 4]


async def test_an_answer_is_dropped_after_its_time() -> None:
    asked = Asked(kept_s=0.05)
    asked.go.set()
    assert await asked.shared.get("a") == 1

    async def is_asked_anew() -> bool:
        return await asked.shared.get("a") == 2

    await eventually(is_asked_anew)


async def test_a_question_that_was_forgotten_while_it_was_asked_is_asked_anew() -> None:
    asked = Asked(kept_s=60.0)
    before = asyncio.create_task(asked.shared.get("a"))
    await all_waiting(asked, before)
    asked.shared.forget("a")
    after = asyncio.create_task(asked.shared.get("a"))
    await all_waiting(asked, before, after)
    asked.go.set()
    assert (await before, await after, await asked.shared.get("a")) == (1, 2, 2)


async def test_no_more_answers_are_kept_than_the_limit_allows() -> None:
    asked = Asked(kept_s=60.0, kept_max=2)
    asked.go.set()
    assert [await asked.shared.get(key) for key in "abcbca"] == [1, 2, 3, 2, 3, 4]


async def awaited(task: asyncio.Task[bool]) -> None:
    await task


async def test_the_first_error_of_questions_at_once_comes_as_it_is_and_cancels_the_others() -> None:
    async def fails() -> None:
        raise Unavailable("no answer")

    other = asyncio.create_task(asyncio.Event().wait())

    async def ask() -> None:
        async with at_once() as tasks:
            tasks.create_task(awaited(other))
            tasks.create_task(fails())

    with pytest.raises(Unavailable):
        await ask()
    assert other.cancelled()
