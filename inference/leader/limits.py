"""The limits of a job, as the operator sets them. The leader, its planner and its leases keep them."""

from msgspec import Struct


class Limits(Struct, frozen=True):
    """The limits of a job: `task_timeout_s` over all its attempts, and `max_attempts` that were not handed back.

    A stage, or one step of `denoise`, may take `stage_timeout_s` before the ranks count as hanging; if its time was
    measured before, it may take less, but at least `stage_floor_s`. No job is begun without `room_bytes` free in the
    store for videos.
    """

    task_timeout_s: float
    stage_timeout_s: float
    stage_floor_s: float
    room_bytes: int
    max_attempts: int
