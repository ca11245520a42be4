"""The state service: `python -m services.state` folds the log into the status bucket, and cleans up, until SIGTERM."""

from contracts.process import garbage

with garbage.frozen():
    import asyncio
    import sys
    import uuid
    from socket import socket
    from typing import NamedTuple

    import uvloop

    from contracts import subjects
    from contracts.broker import Bus, Service, Unavailable, bus
    from contracts.job_log import JobLog
    from contracts.process import env, lifetime, log, metrics_port, start, tracing
    from contracts.process.broker_settings import BrokerSettings
    from contracts.process.reasons import Reasons
    from contracts.process.settings import Gigabytes, Host, PortOrOff, Seconds, StoreUrl, Wait
    from contracts.stores import configured, described
    from services.state.deletions import Deletions
    from services.state.index import trim_index
    from services.state.materialise import materialise
    from services.state.numbers.service import ServiceNumbers
    from services.state.own_numbers import StateNumbers
    from services.state.reconcile import reconcile
    from services.state.records import Records
    from services.state.retention import Limits, Retention
    from services.state.slots import keep_slots

GB = 1e9
RETRY_PAUSE_S = 2.0
STREAMS = (
    subjects.EVENTS_STREAM,
    subjects.JOBS_STREAM,
    subjects.bucket_stream(subjects.INDEX_BUCKET),
    subjects.bucket_stream(subjects.TOMBSTONES_BUCKET),
)
END_WITHIN_S = 15.0
"""The time from a signal to the end, in which a store may hang. Work that is cut off is done again at the next
start."""


class Settings(BrokerSettings, frozen=True):
    """Settings of the state service."""

    task_retention: Seconds = 1800
    cleanup_interval: Wait = 300
    max_output_dir_size: Gigabytes = 50
    video_min_age: Seconds = 600
    leftover_min_age: Seconds = 3600
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"
    metrics_host: Host = "0.0.0.0"  # noqa: S104  # Prometheus asks from another machine
    metrics_port: PortOrOff = 0

    @property
    def limits(self) -> Limits:
        """Return the limits of retention."""
        return Limits(int(self.max_output_dir_size * GB), self.video_min_age, self.leftover_min_age)


async def serve(settings: Settings) -> bool:
    """Serve until a signal comes, and return True, or until the broker is lost for good, and return False.

    Waits as long as it takes for the broker and for its streams. The process is gone `END_WITHIN_S` after a signal.
    """
    stop = lifetime.stop_on_signals(end_within_s=END_WITHIN_S)
    scrapes = metrics_port.opened(settings.metrics_host, settings.metrics_port)
    async with bus.connect(settings.nats_url, name="state", **settings.shown("state"), stop=stop) as broker:
        await broker.wait_for_streams(*STREAMS, stop=stop)
        garbage.freeze()
        log.get().info("state_ready")
        videos, scratch = (
            configured.video_store(settings.video_store_url),
            configured.scratch_store(settings.scratch_store_url),
        )
        own, job_log = StateNumbers(), JobLog(broker, publisher="state")
        own.add_broker(broker)
        records, deletions = Records(job_log, videos), Deletions(broker, job_log)
        retention = Retention(job_log, videos, scratch, settings.limits, own)
        fold = materialise(broker, job_log, records, own, retention_s=settings.task_retention, stop=stop)
        parts = CleaningParts(retention, records, deletions, own)
        async with broker.announced(service(own)), asyncio.TaskGroup() as tasks:
            tasks.create_task(fold)
            tasks.create_task(clean_up(broker, job_log, parts, settings, stop=stop))
            tasks.create_task(keep_slots(broker, job_log, own, stop=stop))
            if scrapes:
                tasks.create_task(serve_numbers(scrapes, broker, job_log, retention, own, stop=stop))
        log.get().info("state_stopped")
        return not broker.lost


def service(own: StateNumbers) -> Service:
    """Return this process as the CLI of NATS is to show it."""
    return Service(
        name="state",
        description="WanJet's state service: folds the log of events into statuses, and cleans up",
        metadata={"instance": uuid.uuid4().hex},
        figures=own.figures,
    )


async def serve_numbers(
    scrapes: list[socket], broker: Bus, job_log: JobLog, retention: Retention, own: StateNumbers, *, stop: asyncio.Event
) -> None:
    """Serve this process's numbers on these sockets, and those of the whole service while it may, until `stop`."""
    service = ServiceNumbers(
        broker,
        job_log,
        videos_bytes=lambda: retention.videos_bytes,
        videos_bytes_max=retention.limits.videos_bytes_max,
    )
    service.add_to(own.metrics)
    async with metrics_port.serving(scrapes, own.metrics, service.see):
        await service.run(stop)


class CleaningParts(NamedTuple):
    """The parts of a clean-up, which share the log and the stores; `own` counts the clean-ups."""

    retention: Retention
    records: Records
    deletions: Deletions
    own: StateNumbers


async def clean_up(
    broker: Bus, job_log: JobLog, parts: CleaningParts, settings: Settings, *, stop: asyncio.Event
) -> None:
    """Complete deletions, reconcile, delete and restore, at once and every `cleanup_interval`, until `stop` is set.

    A clean-up that fails for want of the broker or a store is retried after `RETRY_PAUSE_S`, and logged once for each
    reason.
    """
    reasons = Reasons()
    while not stop.is_set():
        pause_s = settings.cleanup_interval
        try:
            deleted = await parts.deletions.repair()
            unfinished = await reconcile(job_log, parts.records, deleted)
            await parts.retention.delete_outdated(unfinished, deleted)
            await trim_index(broker, job_log)
            await parts.records.repair(unfinished, settled_s=settings.leftover_min_age)
        except (Unavailable, OSError) as error:
            if reasons.is_new(why := described(error)):
                log.get().warning("clean_up_put_off", error=why)
            pause_s = min(pause_s, RETRY_PAUSE_S)
            parts.own.clean_ups.add("put_off")
        else:
            reasons.over()
            parts.own.clean_ups.add("done")
        await lifetime.wait_until_set(stop, within_s=pause_s)


if __name__ == "__main__":
    with start.refusing("state"):
        settings = env.read(Settings)
        start.configure("state", own_stdout=True)
        tracing.configure("state")
        configured.check(settings.video_store_url, settings.scratch_store_url)
        sys.exit(0 if uvloop.run(serve(settings)) else 1)
