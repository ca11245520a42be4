"""Ask several independent questions at once: a task group whose failure is the first error itself.

Job log, queue and edge use it, so that the answer takes one round trip to the broker instead of several.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def at_once() -> AsyncGenerator[asyncio.TaskGroup, None]:
    """Yield a task group, and wait for its tasks at the end of the block.

    Raises the first error of block and tasks as it is, not in an `ExceptionGroup`; the other tasks are cancelled then.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
