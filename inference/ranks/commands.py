"""What rank 0 tells every rank: imperatives, encoded without pickle. Knows no broker and no collective."""

import msgspec
from msgspec import Struct

from contracts.job import Job, JobId
from contracts.plan import Plan


class Resumed(Struct, frozen=True):
    """The two files of a checkpoint, whole, and the steps that they have done."""

    conditions: bytes
    state: bytes
    step: int


class Run(Struct, frozen=True, kw_only=True, tag=True):
    """Generate this job, the ranks sharing it by this plan.

    `rgb` is the picture at exactly the video's size: `height` × `width` × 3 bytes. `resumed` is what an attempt before
    it has left, if anything.
    """

    job_id: JobId
    attempt: int
    job: Job
    plan: Plan
    width: int
    height: int
    rgb: bytes
    resumed: Resumed | None = None

    @property
    def resumed_from_step(self) -> int:
        """0 for a job that begins at its beginning."""
        return 0 if self.resumed is None else self.resumed.step


class Idle(Struct, frozen=True, tag=True):
    """Nothing to do: ask again. Sent so that a silent rank 0 is known for a dead one."""


class Stop(Struct, frozen=True, tag=True):
    """Leave the loop."""


Command = Run | Idle | Stop

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder[Command](Command).decode
