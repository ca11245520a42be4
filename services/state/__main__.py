"""The state service: `python -m services.state` folds the log into the status bucket, and cleans up, until SIGTERM."""

from contracts.process import garbage

with garbage.frozen():
    import asyncio
    import sys

    import uvloop
    from msgspec import Struct

    from contracts import subjects
    from contracts.broker import Unavailable, bus
    from contracts.job_log import JobLog
    from contracts.process import env, lifetime, log, start
    from contracts.process.settings import Gigabytes, NatsCreds, NatsUrl, Seconds, StoreUrl, Wait
    from contracts.stores import configured, described
    from services.state.materialise import materialise
    from services.state.reconcile import reconcile
    from services.state.records import Records
    from services.state.retention import Limits, Retention

GB = 1e9
RETRY_PAUSE_S = 2.0
END_WITHIN_S = 15.0
"""The time from a signal to the end, in which a store may hang. Work that is cut off is done again at the next
start."""


class Settings(Struct, frozen=True):
    """Settings of the state service."""

    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None
    task_retention: Seconds = 1800
    cleanup_interval: Wait = 300
    max_output_dir_size: Gigabytes = 50
    video_min_age: Seconds = 600
    leftover_min_age: Seconds = 3600
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"

    @property
    def limits(self) -> Limits:
        """Return the limits of retention."""
        return Limits(int(self.max_output_dir_size * GB), self.video_min_age, self.leftover_min_age)


async def serve(settings: Settings) -> bool:
    """Serve until a signal comes, and return True, or until the broker is lost for good, and return False.

    Waits as long as it takes for the broker and for its streams. The process is gone `END_WITHIN_S` after a signal.
    """
    stop = lifetime.stop_on_signals(end_within_s=END_WITHIN_S)
    async with bus.connect(settings.nats_url, name="state", creds=settings.nats_creds, stop=stop) as broker:
        await broker.wait_for_streams(subjects.EVENTS_STREAM, subjects.JOBS_STREAM, stop=stop)
        garbage.freeze()
        log.get().info("state_ready")
        videos, scratch = (
            configured.video_store(settings.video_store_url),
            configured.scratch_store(settings.scratch_store_url),
        )
        job_log = JobLog(broker, publisher="state")
        records = Records(job_log, videos)
        retention = Retention(job_log, videos, scratch, settings.limits)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(materialise(broker, job_log, records, retention_s=settings.task_retention, stop=stop))
            tasks.create_task(clean_up(job_log, retention, records, settings, stop=stop))
        log.get().info("state_stopped")
        return not broker.lost


async def clean_up(
    job_log: JobLog, retention: Retention, records: Records, settings: Settings, *, stop: asyncio.Event
) -> None:
    """Reconcile, delete and restore, at once and then every `cleanup_interval`, until `stop` is set.

    A clean-up that fails for want of the broker or a store is retried after `RETRY_PAUSE_S`, and logged once for each
    reason.
    """
    told = ""
    while not stop.is_set():
        pause_s = settings.cleanup_interval
        try:
            unfinished = await reconcile(job_log, records)
            await retention.delete_outdated(unfinished)
            await records.repair(unfinished, settled_s=settings.leftover_min_age)
        except (Unavailable, OSError) as error:
            if (why := described(error)) != told:
                log.get().warning("clean_up_put_off", error=why)
            pause_s, told = min(pause_s, RETRY_PAUSE_S), why
        else:
            told = ""
        await lifetime.wait(stop, within_s=pause_s)


if __name__ == "__main__":
    with start.refusing("state"):
        settings = env.read(Settings)
        start.configure("state")
        configured.check(settings.video_store_url, settings.scratch_store_url)
        sys.exit(0 if uvloop.run(serve(settings)) else 1)
