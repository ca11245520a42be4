"""ASGI middleware that lets in whoever may come in: by key (`AUTH=keys`), or, without keys, by how often they submit.

`app` puts it ahead of WebSockets, the shortcut and all routes, so that none can be forgotten: `rights` lists what is
open, all else is closed. Keys are in memory, so a request with a good key waits for nothing here, unless it names a job
that this edge does not know yet. No body is read before.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from contracts.broker import Unavailable
from contracts.process import log
from services.edge.auth.answering import Refuse, answer
from services.edge.auth.audit import Audit
from services.edge.auth.caller import Caller, caller_of, note_caller
from services.edge.auth.key_table import BadKey
from services.edge.auth.keys import Keys
from services.edge.auth.owners import UNKNOWN, Owners
from services.edge.auth.rates import Rates, bucket_of
from services.edge.auth.rights import READING, Action, action_of, is_open, job_ids_in, scope_for
from services.edge.errors import AccessRefused, NotFound

CHECKED_AGAIN_EVERY_S = 3.0
"""How often the key of a request is checked again that waits for something, such as events."""
NEEDED = (
    "a key is needed here, as the header Authorization: Bearer wj_…; this request has none, or one that is unknown, "
    "expired or revoked"
)

_Requested = HTTPScope | WebSocketScope


class Guards(NamedTuple):
    """The parts of an edge that the gate asks."""

    keys: Keys
    owners: Owners


def with_keys(guards: Callable[[], Guards], a_minute: int, refuse: Refuse, inner: ASGIApp) -> ASGIApp:
    """Return the app, closed to whoever shows no good key. `guards` returns the parts of the edge that are asked.

    `a_minute` is how many submissions a minute are taken of a tenant whose entry says nothing of that; 0 for no limit.
    """
    rates, audit = Rates(), Audit()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await inner(scope, receive, send)
            return
        method, path = scope.get("method", "GET"), scope["path"]
        if is_open(method, path):
            await inner(scope, receive, send)
            return
        action = action_of(method, path)
        try:
            caller = await _let_in(scope, guards(), action, audit)
            if action is not None and action.makes_a_job:
                limit = caller.submissions_a_minute
                rates.take(caller.tenant, a_minute if limit is None else limit)
        except Exception as error:  # noqa: BLE001  # every exception has its answer
            status = await answer(scope, receive, send, refuse, error)
            if action is not None and caller_of(scope).key_id is not None:
                audit.changed(action, status)
            return
        if action is not None:
            await _change(inner, (scope, receive, send), action, audit)
        else:
            may_last = method in READING
            await inner(scope, _while_good(scope, receive, guards().keys) if may_last else receive, send)

    return outer


async def _let_in(scope: _Requested, guards: Guards, action: Action | None, audit: Audit) -> Caller:
    """Return the caller of a request, whom its log lines then name. Raises `AccessRefused`, `NotFound`, `Unavailable`.

    A path that names a job of another tenant is refused as if there were no such job.
    """
    try:
        caller = guards.keys.caller(_shown(scope))
    except BadKey as error:
        audit.refused(error, action, _client(scope))
        raise AccessRefused(401, "UNAUTHORIZED", NEEDED, {"WWW-Authenticate": "Bearer"}) from None
    note_caller(scope, caller)
    log.bind(tenant=caller.tenant, key_id=caller.key_id)
    needed = scope_for(action)
    if not caller.may(needed):
        raise AccessRefused(403, "FORBIDDEN", f"this key may not do that: it lacks the scope {needed}", {})
    if len(named := job_ids_in(scope["path"])) > 1:
        raise NotFound(UNKNOWN)
    for job_id in named:
        log.bind(job_id=job_id)
        await guards.owners.check(caller, job_id)
    return caller


async def _change(inner: ASGIApp, request: tuple[Scope, Receive, Send], action: Action, audit: Audit) -> None:
    """Have a change made, and log who asked for it, and with what outcome."""
    scope, receive, send = request
    status = 0

    async def noting_status(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await inner(scope, receive, noting_status)
    finally:
        audit.changed(action, status)


def _while_good(scope: _Requested, receive: Receive, keys: Keys) -> Receive:
    """Return `receive` for a request that only reads: it says that the client has left once the key is good no more.

    So a stream of events ends some seconds after its key is revoked or has expired.
    """
    shown, gone = _shown(scope), cast("Any", {"type": f"{scope['type']}.disconnect"})

    async def receiving() -> Any:
        coming = asyncio.ensure_future(cast("Any", receive()))
        try:
            while not (await asyncio.wait([coming], timeout=CHECKED_AGAIN_EVERY_S))[0]:
                if not _is_good(keys, shown):
                    return gone
            return coming.result()
        finally:
            coming.cancel()

    return receiving


def _is_good(keys: Keys, shown: list[bytes]) -> bool:
    """Return whether a key is not known to be refused now. While the broker is away, no key is."""
    try:
        keys.caller(shown)
    except BadKey:
        return False
    except Unavailable:
        return True
    return True


def with_address_limit(a_minute: int, refuse: Refuse, inner: ASGIApp) -> ASGIApp:
    """Return the app with `a_minute` submissions a minute taken of each client's address; 0 for no limit."""
    if not a_minute:
        return inner
    rates = Rates()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        action = action_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if action is not None and action.makes_a_job:
            try:
                rates.take(bucket_of(_client(cast("HTTPScope", scope))), a_minute)
            except AccessRefused as error:
                await answer(cast("HTTPScope", scope), receive, send, refuse, error)
                return
        await inner(scope, receive, send)

    return outer


def _shown(scope: _Requested) -> list[bytes]:
    """Return the `Authorization` headers of a request."""
    return [value for name, value in scope["headers"] if name == b"authorization"]


def _client(scope: _Requested) -> str:
    return "" if scope["client"] is None else scope["client"][0]
