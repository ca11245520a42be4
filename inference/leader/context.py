"""The parts of rank 0's asyncio half that are made once: planner, completer, checkpoints, and what they need.

`inference.launch` makes a `RunnerContext` for its `Leader`, which gives it to every `AttemptRunner`.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from contracts.broker import Bus
from contracts.cluster import ClusterStatus
from contracts.job_log import JobLog
from contracts.live_clusters import live_clusters
from contracts.stores import Store
from inference.leader.bridge import ThreadBridge
from inference.leader.completion import JobCompleter
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_videos import JobVideos
from inference.leader.limits import Limits
from inference.leader.numbers import LeaderNumbers
from inference.leader.planner import AttemptPlanner
from inference.ranks.monitor import GroupMonitor


@dataclass(frozen=True)
class RunnerContext:
    """The parts that the leader and all attempts of this process share; made once for its whole life.

    The attempt on which the ranks work holds `ranks_lock`.
    """

    broker: Bus
    video_store: Store
    cluster: ClusterStatus
    job_log: JobLog
    planner: AttemptPlanner
    completer: JobCompleter
    checkpoints: JobCheckpoints
    videos: JobVideos
    bridge: ThreadBridge
    monitor: GroupMonitor
    numbers: LeaderNumbers
    limits: Limits
    ranks_lock: asyncio.Lock

    @classmethod
    def make(
        cls,
        *,
        broker: Bus,
        videos: Store,
        scratch: Store,
        bridge: ThreadBridge,
        monitor: GroupMonitor,
        cluster: ClusterStatus,
        limits: Limits,
        numbers: LeaderNumbers | None = None,
        public_url: str = "",
    ) -> "RunnerContext":
        """Make the parts over this connection and these stores; `public_url` is empty if it is not known."""
        job_log = JobLog(broker, cluster.instance)
        checkpoints, job_videos = JobCheckpoints(scratch, cluster.weights), JobVideos(videos)
        completer = partial(JobCompleter, job_log, checkpoints=checkpoints, cluster=cluster, public_url=public_url)
        return cls(
            broker=broker,
            video_store=videos,
            cluster=cluster,
            job_log=job_log,
            planner=AttemptPlanner(
                job_log,
                videos=job_videos,
                scratch=scratch,
                checkpoints=checkpoints,
                cluster=cluster,
                clusters=partial(live_clusters, broker),
                limits=limits,
            ),
            completer=completer(videos=videos, scratch=scratch),
            checkpoints=checkpoints,
            videos=job_videos,
            bridge=bridge,
            monitor=monitor,
            numbers=numbers or LeaderNumbers(cluster.model, cluster.default_size, dict),
            limits=limits,
            ranks_lock=asyncio.Lock(),
        )
