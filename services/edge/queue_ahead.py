"""Compute when jobs end that wait in a queue before clusters of known speed: first come, first served. Pure.

`forecast` asks. Each job goes to the cluster that is free first, as in the recursion of Kiefer and Wolfowitz (1955).
"""

import heapq
from collections.abc import Sequence

from msgspec import Struct

from contracts.job import Job
from contracts.stage_times import Expected, MeasuredPace, expected
from contracts.too_large import work_of


class Server(Struct, frozen=True):
    """A cluster as the queue sees it: in how many seconds its ranks are free, and its measured speed.

    Without `paces` every job takes `usual_s`. `default_size` is the size of a job that asks for none.
    """

    free_in_s: float
    usual_s: float | None
    default_size: str
    paces: Sequence[MeasuredPace] = ()

    def expected(self, job: Job | None) -> Expected | None:
        """Return how long the cluster takes for a job; None if unknown. `job` is None if it cannot be read."""
        if self.paces and job is not None:
            work = work_of(job, self.default_size)
            return expected(self.paces, job, work.width * work.height * work.num_frames)
        return None if self.usual_s is None else Expected(self.usual_s, 0.0)


class Ahead(Struct, frozen=True):
    """When waiting jobs end, in seconds from now: `ends_s` of the first ones, by id, and a rate for those behind.

    The job at place p of the queue, p above the number of `ends_s`, ends `per_place_s` later for each place.
    """

    ends_s: dict[str, float]
    last_s: float
    per_place_s: float

    def end_s(self, job_id: str, place: int) -> float:
        """Return in how many seconds a waiting job at this place (from 1) ends."""
        found = self.ends_s.get(job_id)
        return self.last_s + max(0, place - len(self.ends_s)) * self.per_place_s if found is None else found


def look_ahead(servers: Sequence[Server], waiting: Sequence[tuple[str, Job | None]]) -> Ahead | None:
    """Return when the waiting jobs, the oldest first, end; None without servers, or if no speed is known at all.

    A cluster of unknown speed counts as not there.
    """
    servers = [server for server in servers if server.usual_s is not None or server.paces]
    if not servers:
        return None
    free = [(server.free_in_s, number) for number, server in enumerate(servers)]
    heapq.heapify(free)
    ends_s: dict[str, float] = {}
    taken: list[float] = []
    last_s = free[0][0]
    for job_id, job in waiting:
        free_in_s, number = free[0]
        if (takes := servers[number].expected(job)) is None:  # a job that cannot be read takes as long as the others
            takes = Expected(_mean(taken), 0.0)
        heapq.heapreplace(free, (free_in_s + takes.on_ranks_s, number))
        taken.append(takes.on_ranks_s)
        last_s = free_in_s + takes.on_ranks_s + takes.afterwards_s
        ends_s[job_id] = last_s
    return Ahead(ends_s, max(ends_s.values(), default=last_s), _mean(taken) / len(servers))


def _mean(values: Sequence[float]) -> float:
    """Return the mean, 0 of nothing. The edge is spared the memory of `statistics`."""
    return sum(values) / len(values) if values else 0.0
