"""Ask a question once for all who ask it at the same time (single flight) or shortly after (a cache with an age limit).

`job_queue` shares the broker's numbers with it, and the edge statuses of ended jobs and checks of videos.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from contracts.recent import Recent

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class _Question(Generic[Answer]):
    """A question, from when it is asked until its answer is dropped, with the number of those who wait for it."""

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task = task
        self.waiting = 0
        self.kept_until = 0.0
        """Until when the answer is given to others, by the monotonic clock."""


class SharedAnswers(Generic[Key, Answer]):
    """The answers to one kind of question, by key. One instance for the process and each kind.

    An answer is kept for `kept_s` after it came, or for as long as `kept_s` says for that answer; 0 keeps none. At most
    `kept_max` answers are kept, the latest. An error reaches all who wait for it, and is not kept.
    """

    def __init__(
        self,
        ask: Callable[[Key], Coroutine[Any, Any, Answer]],
        *,
        kept_s: float | Callable[[Answer], float],
        kept_max: int,
    ) -> None:
        self._ask = ask
        self._kept_s: Callable[[Answer], float] = kept_s if callable(kept_s) else lambda _: kept_s
        self._questions = Recent[Key, _Question[Answer]](kept_max)

    async def get(self, key: Key) -> Answer:
        """Return the answer for a key: a kept one, the one that others wait for, or a new one.

        Whoever waits may be cancelled without harm to the others; the question is cancelled with the last of them.
        Raises what asking raises.
        """
        question = self._questions.get(key)
        if question is None or (question.task.done() and question.kept_until <= time.monotonic()):
            question = self._asked(key)
        if question.task.done():
            return question.task.result()
        question.waiting += 1
        try:
            return await asyncio.shield(question.task)
        finally:
            question.waiting -= 1
            if not question.waiting and not question.task.done():
                self._drop(key, question)
                question.task.cancel()

    def forget(self, key: Key) -> None:
        """Have the next who asks get a new answer, also if the question is being answered now."""
        self._questions.pop(key, None)

    def _asked(self, key: Key) -> _Question[Answer]:
        """Ask anew, and return the question."""
        question = self._questions[key] = _Question(asyncio.create_task(self._ask(key)))
        question.task.add_done_callback(lambda _: self._on_answer(key, question))
        return question

    def _on_answer(self, key: Key, question: _Question[Answer]) -> None:
        """Keep an answer for its time, or drop it."""
        is_answer = not question.task.cancelled() and question.task.exception() is None
        kept_s = self._kept_s(question.task.result()) if is_answer else 0.0
        question.kept_until = time.monotonic() + kept_s
        if not kept_s:
            self._drop(key, question)

    def _drop(self, key: Key, question: _Question[Answer]) -> None:
        """Forget this question, unless a later one has taken its place."""
        if self._questions.get(key) is question:
            del self._questions[key]
