"""The commands that rank 0 broadcasts to every rank, as imperatives, and their bytes (msgpack, no pickle)."""

import msgspec
from msgspec import Struct

from contracts.job import Job, JobId
from contracts.plan import Plan


class EncodedSnapshot(Struct, frozen=True):
    """A snapshot of a job between two steps, as the bytes of its two files; `step` steps are done in it."""

    conditions: bytes
    state: bytes
    step: int


class Run(Struct, frozen=True, kw_only=True, tag=True):
    """Generate this job, the ranks sharing it by this plan.

    `rgb` is the picture at exactly the video's size: `height` × `width` × 3 bytes. `snapshot` is what an earlier
    attempt has left; without it the job begins at its beginning. `trace_id` is for log lines; empty without a trace.
    """

    job_id: JobId
    attempt: int
    job: Job
    plan: Plan
    width: int
    height: int
    rgb: bytes
    snapshot: EncodedSnapshot | None = None
    trace_id: str = ""

    @property
    def resumed_from_step(self) -> int:
        """The steps that are done already, 0 for a job that begins at its beginning."""
        return 0 if self.snapshot is None else self.snapshot.step


class Idle(Struct, frozen=True, tag=True):
    """Do nothing, and ask again. Sent so that the ranks can tell an idle rank 0 from a dead one."""


class Stop(Struct, frozen=True, tag=True):
    """Leave the loop."""


Command = Run | Idle | Stop

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder[Command](Command).decode
