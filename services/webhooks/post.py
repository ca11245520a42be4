"""Post one webhook under the guard against SSRF, and tell what became of it. `deliver` calls `Poster.post`.

The answer's body is not read, and no redirect is followed. Every failure has one of the words of `contracts.webhook`,
and for the log the error, with the setting that would allow a forbidden address.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp

from contracts.outbound.about import user_agent
from contracts.outbound.address import BadForm, Parts, parts_of
from contracts.outbound.guarded_client import GuardedClient, raise_if_ours
from contracts.outbound.url_policy import Forbidden, UrlPolicy
from contracts.webhook import Failure
from services.webhooks.schedule import Outcome
from services.webhooks.targets import HELD_MAX

POST_WITHIN_S = 15.0
CONNECT_WITHIN_S = 5.0
HEADER_BYTES_MAX = 8 * 1024
LOOK_UPS_MAX = HELD_MAX
"""Every delivery in hand may look a name up at once: a silent name server is its own targets' matter."""
RETRY_AFTER_OF = (429, 503)
SECONDS_DIGITS_MAX = 9
HEADERS = {"Content-Type": "application/json", "Accept": "*/*", "Accept-Encoding": "identity"}


class Poster:
    """Posts webhooks. One for the process; it can post for as long as its block lasts.

    `within_s` bounds a whole try: look-up, connection, and the head of the answer.
    """

    def __init__(self, policy: UrlPolicy, *, contact: str | None = None, within_s: float = POST_WITHIN_S) -> None:
        self._client = GuardedClient(
            policy,
            headers={**HEADERS, "User-Agent": user_agent(contact)},
            connections_max=HELD_MAX,
            connect_s=CONNECT_WITHIN_S,
            silence_s=within_s,
            header_bytes_max=HEADER_BYTES_MAX,
            look_ups_max=LOOK_UPS_MAX,
        )
        self._within_s = within_s

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Post a body, and return what became of it. Raises `Overloaded` if something of our own is lacking."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._within_s):
                parts = self._client.policy.check_url(url)
                addresses = await self._client.addresses(parts.hostname)
                async with self._client.request("POST", parts, addresses, data=body, headers=headers) as answer:
                    return _outcome(answer, time.monotonic() - began)
        except (Forbidden, aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise_if_ours(error)
            return Outcome(
                failure=_failure(error),
                duration_s=time.monotonic() - began,
                why=_why(error),
                allowed_by=error.setting if isinstance(error, Forbidden) else None,
            )


def target_of(url: str) -> Parts | None:
    """Return the parts of a webhook's URL; None for one that has no form, which no edge publishes."""
    try:
        return parts_of(url)
    except BadForm:
        return None


def _outcome(answer: aiohttp.ClientResponse, duration_s: float) -> Outcome:
    """Return the outcome that an answer means: success is a status of 200 to 299, and nothing else."""
    failure: Failure | None = "status"
    if 200 <= answer.status < 300:
        failure = None
    elif 300 <= answer.status < 400:
        failure = "redirect"
    asked = answer.headers.get("Retry-After") if answer.status in RETRY_AFTER_OF else None
    return Outcome(
        code=min(max(answer.status, 100), 999),
        failure=failure,
        duration_s=duration_s,
        retry_after_s=None if asked is None else _seconds_in(asked),
    )


def _seconds_in(retry_after: str) -> float | None:
    """Return the seconds that a `Retry-After` asks for, given as a number or a date; None if it is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) <= SECONDS_DIGITS_MAX:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _failure(error: Exception) -> Failure:
    """Return the word for an error of a try."""
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls"
        case aiohttp.ClientConnectorError() | Forbidden() | BadForm():
            return "unreachable"
        case aiohttp.ClientError():
            return "no_http"
        case _:
            return "unreachable"


def _why(error: Exception) -> str:
    """Return an error as the log may show it: a library's own words may hold the URL, so its class alone."""
    return str(error) if isinstance(error, Forbidden | BadForm) else type(error).__name__
