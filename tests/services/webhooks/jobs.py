"""Jobs with a webhook, as edge and cluster publish them, and the webhook service as a process."""

import base64
from pathlib import Path

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Ending
from contracts.job_log import JobLog
from contracts.webhook import WebhookDelivery
from tests.kit.broker import Broker
from tests.kit.builders import submitted, succeeded
from tests.kit.process import Process
from tests.kit.waiting import eventually

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
METADATA = {"order": "42"}


def job_id(number: int) -> str:
    return f"{number:032x}"


class Service(Process):
    """The webhook service on a broker. Whoever starts it stops it."""

    def __init__(self, broker: Broker, log: Path, *, module: str = "services.webhooks", **variables: str) -> None:
        super().__init__(["-m", module], log, **{**broker.environment, "WEBHOOK_SECRET": SECRET, **variables})


async def submit(link: Bus, number: int, url: str | None) -> None:
    """Publish a submission into the log."""
    event = replace(submitted(metadata=METADATA), job_id=job_id(number), webhook_url=url)
    await link.publish(subjects.event(event), wire.encode(event), within_s=2)


async def end(link: Bus, number: int, ending: Ending | None = None) -> None:
    """Publish the ending of a job, a success unless another is given."""
    event = replace(ending or succeeded(1, at=200.0), job_id=job_id(number))
    await JobLog(link, publisher="test").publish_ending(event)


async def submit_and_end(link: Bus, number: int, url: str | None) -> str:
    """Publish submission and success of a job, and return its id."""
    await submit(link, number, url)
    await end(link, number)
    return job_id(number)


async def delivery(link: Bus, job: str) -> WebhookDelivery | None:
    """Return a job's delivery as the bucket has it."""
    found = await link.get(subjects.DELIVERIES_BUCKET, job)
    return None if found is None else wire.decode_delivery(found.data)


async def over(link: Bus, job: str, *, within_s: float = 10) -> WebhookDelivery:
    """Wait until a job's delivery is over, and return it."""

    async def ended() -> WebhookDelivery | None:
        found = await delivery(link, job)
        return found if found is not None and found.state != "pending" else None

    found = await eventually(ended, within_s=within_s)
    assert found is not None
    return found


async def nothing_left(link: Bus) -> bool:
    """Return whether every ending was looked at, and nothing is due or scheduled."""
    endings = await link.consumer(subjects.EVENTS_STREAM, subjects.WEBHOOKS_DURABLE)
    due = await link.stream(subjects.WEBHOOKS_STREAM)
    return not endings.num_pending and not endings.num_ack_pending and not due.state.messages
