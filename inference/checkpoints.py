"""A running job's checkpoint in the scratch store: two files, of which one is written once. Knows no event.

`checkpoints/<id>-conditions.safetensors` is what stays the same through all steps; `checkpoints/<id>-<attempt>-<step>-
<hash>.safetensors` the rest, of which the newest counts. The hash, the beginning of its SHA-256, is in the name.
"""

import asyncio
import re
import time
from typing import NamedTuple

from contracts import log
from contracts.blobs import Store
from contracts.job import CHECKPOINTS, conditions_name, job_id_in
from inference.commands import Resumed
from inference.wan import halfway
from inference.wan.halfway import Halfway, Origin, Unusable

HASH_CHARS = 16

_NAME = re.compile(rf"{CHECKPOINTS}/[0-9a-f]{{32}}-([0-9]+)-([0-9]+)-([0-9a-f]{{{HASH_CHARS}}})\.safetensors")


class _State(NamedTuple):
    """The file of a step; the larger one is the newer one."""

    step: int
    attempt: int
    hash: str
    name: str


class Checkpoints:
    """Every method raises `OSError` where the store fails."""

    def __init__(self, scratch: Store, model: str) -> None:
        self._scratch, self._model = scratch, model

    async def write(self, job_id: str, attempt: int, recipe: str, state: Halfway) -> None:
        """Keep this state, durably, and then let go of the ones before it."""
        began = time.monotonic()
        origin = Origin(recipe, self._model)
        conditions = await asyncio.to_thread(halfway.encode_conditions, state.given, origin)
        content = await asyncio.to_thread(halfway.encode_step, state, origin, conditions)
        hash_of_it = halfway.digest(content)[:HASH_CHARS]
        name = f"{CHECKPOINTS}/{job_id}-{attempt}-{state.step}-{hash_of_it}.safetensors"
        await self._write_conditions(job_id, conditions)
        await self._scratch.write(name, content)
        for older in await self._states(job_id):
            if older.name != name:
                await self._scratch.delete(older.name)
        seconds = round(time.monotonic() - began, 3)
        log.get().info("checkpoint_kept", step=state.step, bytes=len(content) + len(conditions), seconds=seconds)

    async def _write_conditions(self, job_id: str, conditions: bytes) -> None:
        """Written by the first checkpoint of an attempt; those of another plan may differ in their last digits."""
        name = conditions_name(job_id)
        if await self._scratch.write(name, conditions) or await self._scratch.read(name) == conditions:
            return
        await self._scratch.delete(name)
        await self._scratch.write(name, conditions)

    async def latest(self, job_id: str, recipe: str) -> Resumed | None:
        """What the job can go on from. One that cannot be used is reported, and counts as none."""
        states = await self._states(job_id)
        conditions = (await self._scratch.read(conditions_name(job_id)) or b"") if states else b""
        for state in states:
            if (content := await self._scratch.read(state.name)) is None:
                continue
            try:
                step = _check(state, conditions, content, Origin(recipe, self._model))
            except Unusable as error:
                log.get().error("checkpoint_unusable", step=state.step, why=error.why)
                continue
            return Resumed(conditions, content, step)
        return None

    async def remove(self, job_id: str) -> None:
        for name in [*(state.name for state in await self._states(job_id)), conditions_name(job_id)]:
            await self._scratch.delete(name)

    async def _states(self, job_id: str) -> list[_State]:
        """Newest first."""
        names = [file.name for file in await self._scratch.files(CHECKPOINTS) if job_id_in(file.name) == job_id]
        found = [(match, name) for name in names if (match := _NAME.fullmatch(name)) is not None]
        states = [_State(int(match[2]), int(match[1]), match[3], name) for match, name in found]
        return sorted(states, reverse=True)


def _check(state: _State, conditions: bytes, content: bytes, origin: Origin) -> int:
    """The steps that these have done. Raises `Unusable`."""
    if halfway.digest(content)[:HASH_CHARS] != state.hash:
        raise Unusable("damaged")
    return halfway.check(conditions, content, origin)
