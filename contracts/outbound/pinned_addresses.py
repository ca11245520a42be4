"""Pin a request to the addresses that were checked for it, which defeats DNS rebinding: one look-up serves both.

`guarded_client` looks a name up, checks the addresses, and sets `ADDRESSES` in its task. aiohttp's connector, which
resolves names by itself, gets `PinnedResolver` and thus those addresses.
"""

import socket
from contextvars import ContextVar

from aiohttp.abc import AbstractResolver, ResolveResult

ADDRESSES: ContextVar[list[str]] = ContextVar("addresses")
"""The checked addresses of the host that the running task requests next."""


class PinnedResolver(AbstractResolver):
    """Answers aiohttp's look-ups with `ADDRESSES`, whatever the name. One for the connector."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # both, always
    ) -> list[ResolveResult]:
        """Return the running task's `ADDRESSES` as aiohttp takes them. Raises `LookupError` if none were set."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in ADDRESSES.get()
        ]

    async def close(self) -> None:
        """Do nothing: the resolver holds nothing."""
        return
