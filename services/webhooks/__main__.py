"""The webhook service: `python -m services.webhooks` posts endings to the jobs' webhooks, until SIGTERM."""

from contracts.process import garbage

with garbage.frozen():
    import asyncio
    import sys
    import uuid
    from typing import Annotated

    import uvloop
    from msgspec import Meta

    from contracts import subjects
    from contracts.broker import Service, bus
    from contracts.job_log import JobLog
    from contracts.outbound.about import Contact
    from contracts.outbound.url_policy import UrlPolicy, networks
    from contracts.process import env, lifetime, log, metrics_port, start
    from contracts.process.broker_settings import BrokerSettings
    from contracts.process.settings import Host, Network, Port, PortOrOff, PublicUrl
    from services.webhooks.deliver import Courier, Options
    from services.webhooks.deliveries import Deliveries
    from services.webhooks.due import DueWebhooks
    from services.webhooks.enlist import Enlisting
    from services.webhooks.numbers import WebhookNumbers
    from services.webhooks.post import Poster
    from services.webhooks.presence import tell_presence
    from services.webhooks.sign import WebhookSecret, secrets_in

END_WITHIN_S = 15.0
"""The time from a signal to the end. A try that is cut off is made again."""


class Settings(BrokerSettings, frozen=True, kw_only=True):
    """Settings of the webhook service."""

    webhook_secret: WebhookSecret
    outbound_allowed_networks: tuple[Network, ...] = ()
    outbound_allowed_ports: tuple[Port, ...] = ()
    outbound_contact: Contact | None = None
    public_url: PublicUrl = None
    webhook_pauses_scale: Annotated[float, Meta(gt=0, le=1)] = 1.0
    metrics_host: Host = "0.0.0.0"  # noqa: S104  # Prometheus asks from another machine
    metrics_port: PortOrOff = 0


async def serve(settings: Settings) -> bool:
    """Serve until a signal comes, and return True, or until the broker is lost for good, and return False.

    Waits as long as it takes for the broker and for its streams. The process is gone `END_WITHIN_S` after a signal.
    """
    stop = lifetime.stop_on_signals(end_within_s=END_WITHIN_S)
    scrapes = metrics_port.opened(settings.metrics_host, settings.metrics_port)
    policy = UrlPolicy(networks(settings.outbound_allowed_networks), frozenset(settings.outbound_allowed_ports))
    options = Options(secrets_in(settings.webhook_secret), settings.webhook_pauses_scale, settings.public_url)
    async with (
        bus.connect(settings.nats_url, name="webhooks", **settings.shown("webhooks"), stop=stop) as broker,
        Poster(policy, contact=settings.outbound_contact) as poster,
    ):
        await broker.wait_for_streams(subjects.EVENTS_STREAM, subjects.WEBHOOKS_STREAM, stop=stop)
        garbage.freeze()
        log.get().info("webhooks_ready", secrets=len(options.secrets))
        job_log, deliveries = JobLog(broker, publisher="webhooks"), Deliveries(broker)
        courier = Courier(broker, job_log, deliveries, poster, options)
        courier.numbers.add_broker(broker)
        async with (
            broker.announced(service(courier.numbers)),
            metrics_port.serving(scrapes, courier.numbers.metrics),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(tell_presence(broker, stop))
            tasks.create_task(Enlisting(broker, job_log, deliveries).serve(stop))
            tasks.create_task(DueWebhooks(broker, courier).serve(stop))
        log.get().info("webhooks_stopped")
        return not broker.lost


def service(numbers: WebhookNumbers) -> Service:
    """Return this process as the CLI of NATS is to show it."""
    return Service(
        name="webhooks",
        description="WanJet's webhook service: posts the endings of jobs to where they asked for them",
        metadata={"instance": uuid.uuid4().hex},
        figures=numbers.now,
    )


if __name__ == "__main__":
    with start.refusing("webhooks"):
        settings = env.read(Settings)
        start.configure("webhooks", own_stdout=True)
        sys.exit(0 if uvloop.run(serve(settings)) else 1)
