"""Provisioning a broker that is not there yet, and one that refuses."""

import asyncio
import signal

from contracts import bus, subjects
from ops.provision import provision, streams
from tests.conftest import Broker, completed, eventually, provision_settings


async def test_provisioning_goes_on_when_a_broker_that_gave_no_answers_gives_them_again(broker: Broker) -> None:
    settings = provision_settings(broker)
    async with bus.connect(broker.url, name="provision") as link:
        broker.send(signal.SIGSTOP)
        provisioning = asyncio.create_task(provision(link, settings))
        await eventually(lambda: not link.connected)  # longer than one request waits
        broker.send(signal.SIGCONT)
        await asyncio.wait_for(provisioning, 30)
        for config in streams(settings):
            assert (await link.stream(config.name or "")).config.name == config.name
        assert await link.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
        assert await link.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET) is not None


def test_what_the_broker_refuses_is_said_at_once_and_in_one_sentence(broker: Broker) -> None:
    ended = completed("-m", "ops.provision", within_s=30, NATS_REPLICAS="3", **broker.environment)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("the broker refuses: replicas > 1 not supported")
    assert "Traceback" not in ended.stderr
