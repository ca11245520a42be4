"""Share one look among all who ask while another look is under way, without losing freshness (group commit for reads).

Whoever asks gets what a look finds that begins after the question. So of any number who ask for the same at once, the
first begins a look, and all others share the one after it. The edge looks up the statuses of unfinished jobs with it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class NextAnswers(Generic[Key, Answer]):
    """Looks by key, of which at most one is under way for each. One instance for the process and each kind of look.

    An error reaches all who share the look, and nothing is kept.
    """

    def __init__(self, look: Callable[[Key], Coroutine[Any, Any, Answer]]) -> None:
        self._look = look
        self._waiting: dict[Key, list[asyncio.Future[Answer]]] = {}
        """For each key with a look under way, those who wait for the next one."""
        self._shared = set[asyncio.Task[None]]()
        """The looks that several may share, held so that none is collected."""

    async def get(self, key: Key) -> Answer:
        """Return what a look finds that begins after this call. Raises what looking raises.

        Whoever waits may be cancelled without harm to the others.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = []
            try:
                return await self._look(key)
            finally:
                self._go_on(key)
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting.append(mine)
        return await mine

    def _go_on(self, key: Key) -> None:
        """Begin the next look for those who wait at the end of one; without any, forget the key."""
        sharing = [future for future in self._waiting.pop(key) if not future.done()]
        if sharing:
            self._waiting[key] = []
            task = asyncio.create_task(self._look_for(key, sharing))
            self._shared.add(task)
            task.add_done_callback(self._shared.discard)

    async def _look_for(self, key: Key, sharing: list["asyncio.Future[Answer]"]) -> None:
        """Look, and give the answer or the error to those who share it and still wait."""
        try:
            answer = await self._look(key)
        except asyncio.CancelledError:  # the loop ends
            for future in sharing:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # it is theirs
            for future in sharing:
                if not future.done():
                    future.set_exception(error)
        else:
            for future in sharing:
                if not future.done():
                    future.set_result(answer)
        finally:
            self._go_on(key)
