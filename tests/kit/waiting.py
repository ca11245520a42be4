"""Waiting without `sleep`: tests poll a predicate until its answer is truthy, or fail with its last answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.1


async def eventually(look: Callable[[], Awaitable[T] | T], *, within_s: float = 10) -> T:
    """Return the first truthy answer of `look`; raise AssertionError with the last answer after `within_s` seconds."""
    answer: T | None = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = look()
                answer = await found if isinstance(found, Awaitable) else found
                if answer:
                    return answer
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s; last answer: {answer!r}") from None
