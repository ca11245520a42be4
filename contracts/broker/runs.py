"""Reading a stream from any place: the next message, whatever was deleted between. Mixed into `bus.Bus`.

What such a read costs the broker does not grow with the stream, since nothing is counted. Any replica answers, so that
with replicas the last messages may be missing.
"""

import json
from functools import partial

from contracts.broker import listing
from contracts.broker.connection import REQUEST_TIMEOUT_S, REQUEST_WITHIN_S
from contracts.broker.direct_get import Stored, stored_in
from contracts.broker.streams import EVERY_SUBJECT, Streams


class Runs(Streams):
    """The part of the bus that reads runs. Every method raises `Unavailable` if the broker does not answer in time."""

    async def next_from(self, stream: str, sequence: int) -> Stored | None:
        """Return the first message at a sequence or after it, of every subject; None if there is none.

        It is asked for without a batch: for a batch nats-server counts what follows, which takes it 10 ms and more in a
        stream of which messages were deleted between others.
        """
        asked = json.dumps({"seq": sequence, "next_by_subj": EVERY_SUBJECT}).encode()

        async def ask(left_s: float) -> Stored | None:
            return stored_in(await self._client.quick(f"$JS.API.DIRECT.GET.{stream}", asked, within_s=left_s))

        return await self._ask_bounded(ask)

    async def subjects(self, stream: str, pattern: str, *, within_s: float = REQUEST_WITHIN_S) -> list[str]:
        """Return the subjects of a stream that match and have a message: asked of the leader, page by page.

        `within_s` is for each page. Raises as `stream` does.
        """
        found: list[str] = []
        while True:
            look = partial(listing.page, self._client, stream, pattern, len(found), within_s=REQUEST_TIMEOUT_S)
            page, total = await self._ask(look, within_s=within_s)
            found += page
            if not page or len(found) >= total:
                return found
