"""The users of a broker as a test becomes one after the other: what each may do, by the broker's own answer."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client

from contracts.process.broker_settings import seed_file
from contracts.request_subjects import inbox_prefix
from tests.kit.broker import Broker


class User:
    """A connection as one user of the broker."""

    def __init__(self, name: str, client: Client, errors: list[str]) -> None:
        self.name, self.client, self._errors = name, client, errors

    async def refused(self, *, publish: Iterable[str] = (), subscribe: Iterable[str] = ()) -> set[str]:
        """Publish an empty message to subjects, and subscribe to patterns; return those that the broker denies."""
        asked = {subject.lower(): subject for subject in (*publish, *subscribe)}
        before = len(self._errors)
        for subject in publish:
            await self.client.publish(subject, b"")
        subscriptions = [await self.client.subscribe(pattern) for pattern in subscribe]
        for _ in range(2):  # the PING of the first one overtakes what waits to be sent
            await self.client.flush()
        for subscription in subscriptions:
            await subscription.unsubscribe()
        return {asked[error.partition('"')[2].partition('"')[0]] for error in self._errors[before:]}


@asynccontextmanager
async def user_of(broker: Broker, name: str) -> AsyncGenerator[User, None]:
    errors: list[str] = []

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    client = await nats.connect(
        broker.address,
        nkeys_seed=str(seed_file(broker.keys, name)),
        inbox_prefix=inbox_prefix(name),
        error_cb=on_error,
    )
    try:
        yield User(name, client, errors)
    finally:
        await client.close()


async def stored(broker: Broker, stream: str) -> dict[str, int]:
    """Return how many messages of each subject a stream holds."""
    client = await nats.connect(broker.url)
    try:
        return (await client.jetstream().stream_info(stream, subjects_filter=">")).state.subjects or {}
    finally:
        await client.close()
