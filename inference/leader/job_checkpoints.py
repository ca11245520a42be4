"""A running job's checkpoint in the scratch store: two files, of which one is written once. Knows no event.

`checkpoints/<id>-<attempt>-conditions.safetensors` is what stays the same through all steps of an attempt, and
`checkpoints/<id>-<attempt>-<step>-<hash>.safetensors` the rest, of which the newest counts. The hash is the beginning
of its SHA-256.
"""

import asyncio
import re
import time
from typing import NamedTuple

from contracts.job import CHECKPOINTS, job_id_in
from contracts.process import log
from contracts.stores import Store, overwrite
from inference.ranks.commands import EncodedSnapshot
from inference.wan import snapshot
from inference.wan.snapshot import DenoisingSnapshot, Origin, Unusable

HASH_CHARS = 16

_FILE = re.compile(
    rf"{CHECKPOINTS}/[0-9a-f]{{32}}-([0-9]+)-(?:conditions|([0-9]+)-([0-9a-f]{{{HASH_CHARS}}}))\.safetensors"
)


class _File(NamedTuple):
    """One of a job's; without a hash it is an attempt's conditions. Of states the larger one is the newer one."""

    step: int
    attempt: int
    hash: str
    name: str


class _Kept(NamedTuple):
    """Whose conditions were written last, and their digest."""

    job_id: str
    attempt: int
    digest: str


class JobCheckpoints:
    """Every method raises `OSError` where the store fails."""

    def __init__(self, scratch: Store, weights: str) -> None:
        self._scratch, self._weights = scratch, weights
        self._kept: _Kept | None = None

    async def write(self, job_id: str, attempt: int, job_fingerprint: str, state: DenoisingSnapshot) -> None:
        """Keep this state, durably, and then let go of those before it; never of a later attempt's."""
        began = time.monotonic()
        origin = Origin(job_fingerprint, self._weights)
        conditions_digest = await self._keep_conditions(job_id, attempt, origin, state)
        content = await asyncio.to_thread(snapshot.encode_step, state, origin, conditions_digest)
        hash_of_it = snapshot.digest(content)[:HASH_CHARS]
        name = f"{CHECKPOINTS}/{job_id}-{attempt}-{state.step}-{hash_of_it}.safetensors"
        await self._scratch.write(name, content)
        for file in await self._files(job_id):
            outdated = file.attempt < attempt or (file.attempt == attempt and file.hash)
            if outdated and file.name != name:
                await self._scratch.delete(file.name)
        seconds = round(time.monotonic() - began, 3)
        log.get().info("checkpoint_kept", step=state.step, bytes=len(content), seconds=seconds)

    async def _keep_conditions(self, job_id: str, attempt: int, origin: Origin, state: DenoisingSnapshot) -> str:
        """Their digest; they are written with the attempt's first checkpoint alone.

        A broker that lost an attempt's start counts the next one alike: what lies there may be of the one before.
        """
        if self._kept is None or self._kept[:2] != (job_id, attempt):
            conditions = await asyncio.to_thread(snapshot.encode_conditions, state.given, origin)
            await overwrite(self._scratch, _conditions_name(job_id, attempt), conditions)
            self._kept = _Kept(job_id, attempt, snapshot.digest(conditions))
        return self._kept.digest

    async def latest(self, job_id: str, job_fingerprint: str) -> EncodedSnapshot | None:
        """What the job can go on from. One that cannot be used is reported, and counts as none."""
        for file in await self._files(job_id):
            if not file.hash or (content := await self._scratch.read(file.name)) is None:
                continue
            conditions = await self._scratch.read(_conditions_name(job_id, file.attempt)) or b""
            try:
                step = _check(file, conditions, content, Origin(job_fingerprint, self._weights))
            except Unusable as error:
                log.get().error("checkpoint_unusable", step=file.step, why=error.why)
                continue
            return EncodedSnapshot(conditions, content, step)
        return None

    async def remove(self, job_id: str) -> None:
        for file in await self._files(job_id):
            await self._scratch.delete(file.name)

    async def _files(self, job_id: str) -> list[_File]:
        """Newest first."""
        names = [file.name for file in await self._scratch.files(CHECKPOINTS) if job_id_in(file.name) == job_id]
        found = [(match, name) for name in names if (match := _FILE.fullmatch(name)) is not None]
        files = [_File(int(match[2] or 0), int(match[1]), match[3] or "", name) for match, name in found]
        return sorted(files, reverse=True)


def _conditions_name(job_id: str, attempt: int) -> str:
    return f"{CHECKPOINTS}/{job_id}-{attempt}-conditions.safetensors"


def _check(file: _File, conditions: bytes, content: bytes, origin: Origin) -> int:
    """The steps that these have done. Raises `Unusable`."""
    if snapshot.digest(content)[:HASH_CHARS] != file.hash:
        raise Unusable("damaged")
    return snapshot.check(conditions, content, origin)
