"""A running job's checkpoint in the scratch store: its snapshots as files, of which the newest counts.

`Outbox` writes snapshots, the planner reads the latest, `JobCompleter` removes them. A snapshot is two files:
`checkpoints/<id>-<attempt>-conditions.safetensors` holds what stays the same through all steps of an attempt and is
written once; `checkpoints/<id>-<attempt>-<step>-<hash>.safetensors` holds the rest. The hash is the beginning of the
second file's SHA-256.
"""

import asyncio
import re
import time
from typing import NamedTuple

from contracts.job import CHECKPOINTS, job_id_in
from contracts.process import log
from contracts.stores import Store, overwrite
from inference.ranks.commands import EncodedSnapshot
from inference.wan.snapshot import (
    DenoisingSnapshot,
    Origin,
    Unusable,
    checked_steps,
    digest,
    encode_conditions,
    encode_state,
)

HASH_CHARS = 16

_FILE = re.compile(
    rf"{CHECKPOINTS}/[0-9a-f]{{32}}-([0-9]+)-(?:conditions|([0-9]+)-([0-9a-f]{{{HASH_CHARS}}}))\.safetensors"
)


class _File(NamedTuple):
    """A file of a job's checkpoint: an attempt's conditions if `hash` is empty, else a state. Larger means newer."""

    step: int
    attempt: int
    hash: str
    name: str


class _Written(NamedTuple):
    """The attempt whose conditions were written last, and their digest."""

    job_id: str
    attempt: int
    digest: str


class JobCheckpoints:
    """The checkpoints of all jobs, by the model's `weights`. Every method raises `OSError` if the store fails."""

    def __init__(self, scratch: Store, weights: str) -> None:
        self._scratch, self._weights = scratch, weights
        self._written: _Written | None = None

    async def write(self, job_id: str, attempt: int, job_fingerprint: str, snapshot: DenoisingSnapshot) -> None:
        """Write a snapshot durably, then delete the attempt's older ones and all files of earlier attempts."""
        began = time.monotonic()
        origin = Origin(job_fingerprint, self._weights)
        conditions_digest = await self._write_conditions(job_id, attempt, origin, snapshot)
        content = await asyncio.to_thread(encode_state, snapshot, origin, conditions_digest)
        state_hash = digest(content)[:HASH_CHARS]
        name = f"{CHECKPOINTS}/{job_id}-{attempt}-{snapshot.step}-{state_hash}.safetensors"
        await self._scratch.write(name, content)
        for file in await self._files(job_id):
            outdated = file.attempt < attempt or (file.attempt == attempt and file.hash)
            if outdated and file.name != name:
                await self._scratch.delete(file.name)
        seconds = round(time.monotonic() - began, 3)
        log.get().info("checkpoint_kept", step=snapshot.step, bytes=len(content), seconds=seconds)

    async def _write_conditions(self, job_id: str, attempt: int, origin: Origin, snapshot: DenoisingSnapshot) -> str:
        """Write the attempt's conditions unless it has written them already, and return their digest.

        An existing file is overwritten: if the broker lost a `started`, two attempts have the same number, and the file
        may be the first one's.
        """
        if self._written is None or self._written[:2] != (job_id, attempt):
            conditions = await asyncio.to_thread(encode_conditions, snapshot.conditions, origin)
            await overwrite(self._scratch, _conditions_name(job_id, attempt), conditions)
            self._written = _Written(job_id, attempt, digest(conditions))
        return self._written.digest

    async def latest(self, job_id: str, job_fingerprint: str) -> EncodedSnapshot | None:
        """Return the job's newest usable snapshot, or None. Each unusable one is logged and passed over."""
        for file in await self._files(job_id):
            if not file.hash or (content := await self._scratch.read(file.name)) is None:
                continue
            conditions = await self._scratch.read(_conditions_name(job_id, file.attempt)) or b""
            try:
                step = _check_snapshot(file, conditions, content, Origin(job_fingerprint, self._weights))
            except Unusable as error:
                log.get().error("checkpoint_unusable", step=file.step, why=error.why)
                continue
            return EncodedSnapshot(conditions, content, step)
        return None

    async def remove(self, job_id: str) -> None:
        """Delete all files of the job's checkpoint."""
        for file in await self._files(job_id):
            await self._scratch.delete(file.name)

    async def _files(self, job_id: str) -> list[_File]:
        """Return the files of the job's checkpoint, newest first."""
        names = [file.name for file in await self._scratch.files(CHECKPOINTS) if job_id_in(file.name) == job_id]
        found = [(match, name) for name in names if (match := _FILE.fullmatch(name)) is not None]
        files = [_File(int(match[2] or 0), int(match[1]), match[3] or "", name) for match, name in found]
        return sorted(files, reverse=True)


def _conditions_name(job_id: str, attempt: int) -> str:
    return f"{CHECKPOINTS}/{job_id}-{attempt}-conditions.safetensors"


def _check_snapshot(file: _File, conditions: bytes, content: bytes, origin: Origin) -> int:
    """Return the number of steps done in a snapshot whose state is `content`.

    Raises `Unusable` if its bytes do not have the hash in the file's name, or do not go with `conditions` or `origin`.
    """
    if digest(content)[:HASH_CHARS] != file.hash:
        raise Unusable("damaged")
    return checked_steps(conditions, content, origin)
