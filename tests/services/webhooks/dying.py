"""The webhook service, which kills itself by SIGKILL the first time that it comes to the point `DIE_AT`."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from contracts.broker import Bus
from contracts.process import env, start
from services.webhooks.__main__ import Settings, serve
from services.webhooks.deliver import Courier
from services.webhooks.deliveries import Deliveries
from services.webhooks.due import DueWebhooks
from services.webhooks.enlist import Enlisting
from services.webhooks.post import Poster

POINTS: dict[str, tuple[type, str, bool, Callable[[tuple[Any, ...], dict[str, Any]], bool]]] = {
    "ending taken, nothing done": (Enlisting, "enlist", False, lambda _a, _k: True),
    "delivery recorded, not due yet": (Deliveries, "write", True, lambda _a, k: k["over"] == 0),
    "first due message stored, ending not acknowledged": (Enlisting, "enlist", True, lambda _a, _k: True),
    "ending acknowledged": (Enlisting, "_enlist_all", True, lambda _a, _k: True),
    "due message taken, nothing done": (DueWebhooks, "_handle", False, lambda _a, _k: True),
    "before the POST": (Poster, "post", False, lambda _a, _k: True),
    "POST answered, try not recorded": (Poster, "post", True, lambda _a, _k: True),
    "try recorded, next one not scheduled": (Deliveries, "write", True, lambda _a, k: k["over"] > 0),
    "next try scheduled, due message not acknowledged": (Courier, "deliver", True, lambda _a, _k: True),
    "due message acknowledged": (Bus, "acknowledge_all", True, lambda a, _k: _is_due(a)),
    "second try's POST answered, not recorded": (Poster, "post", True, lambda _a, _k: _count("post") == 2),
    "success recorded, due message not acknowledged": (
        Deliveries, "write", True, lambda a, _k: a[1].state == "delivered",
    ),
}  # fmt: skip
"""By its name in words: the class and its method, whether the point is after the call, and which calls count."""

_counts: dict[str, int] = {}


def _count(name: str) -> int:
    _counts[name] = _counts.get(name, 0) + 1
    return _counts[name]


def _is_due(arguments: tuple[Any, ...]) -> bool:
    return any(delivery.subject.startswith("video.webhooks.") for delivery in arguments[1])


def arm(point: str) -> None:
    """Have this process die at a point."""
    kind, method, after, counts = POINTS[point]
    inner: Callable[..., Awaitable[Any]] = getattr(kind, method)

    async def outer(*arguments: Any, **options: Any) -> Any:
        if not after and counts(arguments, options):
            os.kill(os.getpid(), signal.SIGKILL)
        result = await inner(*arguments, **options)
        if after and counts(arguments, options):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(kind, method, outer)


if __name__ == "__main__":
    with start.refusing("webhooks"):
        start.configure("webhooks", own_stdout=True)
        arm(os.environ["DIE_AT"])
        sys.exit(0 if uvloop.run(serve(env.read(Settings))) else 1)
