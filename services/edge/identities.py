"""Find the job that a submission means: by its `Idempotency-Key`, or as the unkeyed repeat of an earlier one, or anew.

`submit` asks. The `openai` package repeats a failed request without a key and only counts its tries, so that a job
whose answer was lost would be made three times. Each such request therefore leaves its job's id in a bucket, for ten
minutes and for every edge, under a name made of caller and fingerprint, where its repeat finds the id.
"""

import asyncio

from msgspec import Struct

from contracts import subjects
from contracts.broker import Bus, Unavailable
from contracts.job import is_job_id
from contracts.tenant import DEFAULT_TENANT
from services.edge.body.idempotency import Asked, Identity, fingerprint, keyed_identity, new_identity, repeat_key


class Attempt(Struct, frozen=True):
    """A request of a client that may repeat it without a key.

    `caller` tells callers apart. `is_repeat` says that the client has tried before.
    """

    caller: str
    is_repeat: bool


class Identities:
    """The jobs that submissions mean, by the broker's secret and the bucket of repeats. One for the process.

    Every method raises `Unavailable` if the broker does not answer in time.
    """

    def __init__(self, broker: Bus) -> None:
        self._broker = broker

    async def identify(
        self, asked: Asked, *, tenant: str = DEFAULT_TENANT, key: str | None, attempt: Attempt | None
    ) -> Identity:
        """Return the job of a tenant's request: under a key the same, of a repeat the first one's, else a new one.

        Without a key, `attempt` is that of a client which repeats. A repeat may be of a request that was refused: then
        no job of that id is there.
        """
        if key is None and attempt is None:
            return new_identity()
        secret = await self._secret()
        if key is not None:
            return await asyncio.to_thread(keyed_identity, secret, key, asked, tenant)
        assert attempt is not None  # noqa: S101  # it is there or a key is
        of_request = await asyncio.to_thread(fingerprint, secret, asked)
        return await self._of_attempt(repeat_key(secret, attempt.caller, of_request), attempt, of_request)

    async def _of_attempt(self, name: str, attempt: Attempt, of_request: str) -> Identity:
        """Return the identity that the bucket has under this name, of a repeat, or a new one, which it then has."""
        stream = subjects.bucket_stream(subjects.REPEATS_BUCKET)
        if attempt.is_repeat:
            stored = await self._broker.last(stream, subjects.bucket_key(subjects.REPEATS_BUCKET, name))
            if stored is not None and is_job_id(job_id := stored.data.decode(errors="replace")):
                return Identity(job_id, of_request)
        fresh = Identity(new_identity().job_id, of_request)
        await self._broker.put_last(subjects.REPEATS_BUCKET, name, fresh.job_id.encode())
        return fresh

    async def _secret(self) -> bytes:
        """Return the secret that ids are derived with."""
        stored = await self._broker.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET)
        if stored is None:
            raise Unavailable("no secret to derive ids from: the broker is not provisioned")
        return stored.data
