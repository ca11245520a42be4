"""Make of the table of rights what nats-server reads: for each user, the subjects that it may publish and subscribe to.

`keys` writes it into the broker's configuration, and tests try every subject of it. Pure.
"""

from collections.abc import Iterable

from msgspec import Struct

from contracts import subjects
from contracts.request_subjects import (
    ALL_SERVICES,
    API,
    acknowledgements_of,
    asked_of,
    inboxes_of,
)
from ops.nats.rights import (
    COUNTERS_OF_ALL,
    DURABLES,
    HEARERS,
    OPERATOR,
    PROVISION,
    SERVICES,
    STREAMS,
    SUBSCRIBER,
    SYSTEM,
    TELLERS,
    Access,
    Pulling,
)

NOTHING = (">",)
JSZ = "$SYS.REQ.SERVER.PING.JSZ"


class Permissions(Struct, frozen=True):
    """The subjects that one user may publish and subscribe to; what is `denied` it may not publish all the same."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    denied: tuple[str, ...] = ()


def permissions_of(user: str) -> Permissions:
    """Return the permissions of a user, each subject once, in the order of the table."""
    if user == SUBSCRIBER:
        return Permissions((), HEARERS[user], denied=NOTHING)
    if user == SYSTEM:
        return Permissions((JSZ,), (inboxes_of(user),))
    publish: list[str] = []
    denied: list[str] = []
    for stream, access in STREAMS.items():
        publish += _of_stream(user, stream, access)
        if user in access.followers:
            publish += _of_follower(stream)
            denied += _not_of_follower(user, stream)
    for durable, pulling in DURABLES.items():
        publish += _of_durable(user, durable, pulling)
    publish += _others(user)
    heard = [*HEARERS.get(user, ()), *(asked_of(SERVICES[user]) if user in SERVICES else ()), inboxes_of(user)]
    return Permissions(_each_once(publish), _each_once(heard), _each_once(denied))


def _of_stream(user: str, stream: str, access: Access) -> Iterable[str]:
    """Yield what a user may publish to write, read, ask for, delete from, purge and make a stream."""
    yield from access.writers.get(user, ())
    reads = user in access.readers or (user == OPERATOR and access.shown)
    if reads:
        yield from (f"{API}.DIRECT.GET.{stream}", f"{API}.DIRECT.GET.{stream}.>", f"{API}.STREAM.MSG.GET.{stream}")
    if reads or user in (*access.askers, *COUNTERS_OF_ALL, OPERATOR, PROVISION):
        yield f"{API}.STREAM.INFO.{stream}"
    if user in access.deleters:
        yield f"{API}.STREAM.MSG.DELETE.{stream}"
    if user in access.purgers:
        yield f"{API}.STREAM.PURGE.{stream}"
    if user == PROVISION:
        yield from (f"{API}.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE"))


def _of_follower(stream: str) -> list[str]:
    """Return what it takes to follow a stream by consumers whose names are drawn."""
    requests = [f"{API}.CONSUMER.{verb}.{stream}.*" for verb in ("CREATE", "MSG.NEXT", "DELETE")]
    return [*requests, *acknowledgements_of(stream, "*")]


def _not_of_follower(user: str, stream: str) -> list[str]:
    """Return what a follower may not do with the durables of the stream: change any, and pull from those of others."""
    of_stream = {name: pulling for name, pulling in DURABLES.items() if pulling.stream == stream}
    changes = [f"{API}.CONSUMER.{verb}.{stream}.{name}" for verb in ("CREATE", "DELETE") for name in of_stream]
    others = [name for name, pulling in of_stream.items() if pulling.puller != user]
    pulls = [f"{API}.CONSUMER.MSG.NEXT.{stream}.{name}" for name in others]
    return [*changes, *pulls, *(each for name in others for each in acknowledgements_of(stream, name))]


def _of_durable(user: str, durable: str, pulling: Pulling) -> Iterable[str]:
    """Yield what a user may publish to pull from, ask for, reset and make a durable."""
    at = f"{pulling.stream}.{durable}"
    if user == pulling.puller:
        yield f"{API}.CONSUMER.MSG.NEXT.{at}"
        yield from acknowledgements_of(pulling.stream, durable)
    if user in (pulling.puller, *pulling.askers, OPERATOR, PROVISION):
        yield f"{API}.CONSUMER.INFO.{at}"
    if user in pulling.resetters:
        yield from (f"{API}.CONSUMER.{verb}.{at}" for verb in ("RESET", "PAUSE"))
    if user == PROVISION:
        yield from (f"{API}.CONSUMER.{made}" for made in (f"CREATE.{at}", f"CREATE.{at}.>", f"DURABLE.CREATE.{at}"))


def _others(user: str) -> Iterable[str]:
    """Yield what a user may publish that concerns no stream and no durable, or all of them."""
    yield from TELLERS.get(user, ())
    if user in SERVICES:
        yield inboxes_of(OPERATOR)  # the answers to `nats service`
    if user in (*COUNTERS_OF_ALL, OPERATOR):
        yield f"{API}.INFO"
    if user == OPERATOR:
        yield from (f"{API}.STREAM.NAMES", f"{API}.STREAM.LIST")
        yield from (f"{API}.CONSUMER.{verb}.{stream}" for stream in STREAMS for verb in ("NAMES", "LIST"))
        yield from (ALL_SERVICES, *map(subjects.figures_of, SERVICES.values()))


def _each_once(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(patterns))
