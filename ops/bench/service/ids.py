"""Names the jobs that a benchmark fills a service with; all sides know them by the same ids."""

from contracts.process.settings import TASKS_MAX

KINDS = ("ended", "running", "waiting")
POLLED = 100
"""How many jobs clients ask for: as in service, most statuses are polls of the same few jobs."""


def job_id(kind: str, number: int) -> str:
    """Return the id of a job of one of `KINDS`."""
    return f"{KINDS.index(kind) + 1:08x}{number:024x}"


def polled(kind: str, jobs: int, count: int = POLLED) -> list[str]:
    """Return the ids of `count` jobs, or fewer if there are fewer, evenly among those of a service with `jobs` jobs."""
    there = count_of(kind, jobs)
    count = min(count, there)
    return [job_id(kind, number * there // count) for number in range(count)]


def count_of(kind: str, jobs: int) -> int:
    """Return how many jobs of a kind a service with `jobs` jobs has: of those that run, no more than are polled.

    Running and waiting jobs share the queue, which holds `TASKS_MAX` at most.
    """
    if kind == "running":
        return min(POLLED, jobs)
    return min(jobs, TASKS_MAX - POLLED) if kind == "waiting" else jobs
