"""Answer the requests of `nats service`, which are those of ADR-32, by nats-py's micro. `service` imports it late.

The endpoint of a service answers with the process's figures, and `STATS` has them as the endpoint's `data`: micro's own
counts are of requests to that endpoint alone.
"""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, ServiceConfig
from nats.micro.service import Service as Micro

from contracts import subjects
from contracts.broker.service import Service
from contracts.request_subjects import service_name

PACKAGE = "wanjet"
VERSION_UNKNOWN = "0.0.0"


async def answer(client: Client, service: Service) -> None:
    """Have the client answer for the service from now on, also over reconnects. Returns once the server knows, or not.

    Without a connection the subscriptions wait for the next one.
    """
    micro = Micro(
        client,
        ServiceConfig(
            name=service_name(service.name),
            version=_version(),
            description=service.description,
            metadata=dict(service.metadata),
            stats_handler=lambda _: msgspec.to_builtins(service.figures()),
        ),
    )

    async def on_request(request: Request) -> None:
        await request.respond(msgspec.json.encode(service.figures()))

    figures = EndpointConfig(
        name="figures", handler=on_request, subject=subjects.figures_of(service.name), metadata={"answers": "JSON"}
    )
    with suppress(nats.errors.Error, TimeoutError, OSError):
        await micro.add_endpoint(figures)
        await micro.start()


def _version() -> str:
    """Return the version of this program, `VERSION_UNKNOWN` if it is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return VERSION_UNKNOWN
