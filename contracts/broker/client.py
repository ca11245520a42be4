"""nats-py's client with failover: it goes to another server if its own gives no answers. `connection` uses it.

The failure detector (`silence`) goes by questions that only a leader can answer. A broker that is cut off from the
others goes on answering pings and direct gets, and for up to 12 s also the reads of streams that it believes to lead.
It cannot acknowledge a write. So an acknowledged write shows that the broker is well; an answered read does so only
while nothing is written.
"""

import asyncio
from typing import Any

from nats.aio.msg import Msg

from contracts.broker.api_error import ApiError, error_in
from contracts.broker.asking import Asking
from contracts.broker.complaints import Complaints, Denial, is_denial
from contracts.broker.counts import Counts
from contracts.broker.errors import LIMIT_REACHED
from contracts.broker.quick import Answer
from contracts.broker.secure import SecureClient
from contracts.broker.silence import Silence
from contracts.process import log

SILENCE_S_MAX = 5.0
CHECK_EVERY_S = 0.5
RECONNECT_WAIT_S_MAX = 5.0

_DIRECT, _INFO = "$JS.API.DIRECT.GET.", "$JS.API.STREAM.INFO."
_OF_JETSTREAM = "$JS."
_UNDECIDED = (10004, 10008, 10009, 10158, 10164)
"""JetStream's errors if there is no leader, or if the replicas have not confirmed an earlier try of the same write."""
_BAD_REQUEST = 400
_NOT_FOUND = 404


class FailoverClient(SecureClient):
    """A client that measures how long it has had no answers. `watch`, while it runs, then goes to another server."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints, self.counts = Complaints(), Counts()
        self._reads, self._writes = Silence(), Silence()
        self._acknowledged: dict[str, Silence] = {}
        """By kind of subject: the first two tokens, of which there are a dozen."""
        self._asking = Asking()

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109  # nats-py's own
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Send a request and return its answer, as nats-py's `Client` does, and note both for `silent_s`.

        Raises nats-py's errors, and `Denied` at once. An error (no responders, for example) counts as no answer.
        """
        self._note_question(subject)
        with self._asking.waiting(subject) as until_denied:
            async with until_denied:
                reply = await super().request(subject, payload, timeout, old_style, headers)
        self._note_answer(subject, error_in(reply.data))
        return reply

    async def quick(self, subject: str, payload: bytes, *, within_s: float) -> Answer:
        """Send a request and return its answer, as `QuickClient` does, and note both for `silent_s`."""
        self._note_question(subject)
        answer = await super().quick(subject, payload, within_s=within_s)
        self._note_answer(subject, error_in(answer.data))
        return answer

    def _note_question(self, subject: str) -> None:
        """Start the clock of the answer, by the kind of question: a read, a write, or one that needs no leader."""
        if subject.startswith((_DIRECT, _INFO)):  # a broker without a leader answers these too
            return
        if subject.startswith(_OF_JETSTREAM):
            self.asked()
        else:
            self._writes.asked()
            self.acknowledgements(subject).asked()

    def _note_answer(self, subject: str, refusal: ApiError) -> None:
        """Stop the clocks of the kinds of question that this answer to a question on `subject` shows to be served."""
        if subject.startswith(_DIRECT) or refusal.err_code in _UNDECIDED:
            return
        if subject.startswith(_INFO):
            if refusal.code == _NOT_FOUND:  # only the leader of all brokers says so
                self.well()
        elif subject.startswith(_OF_JETSTREAM):
            self.answered()
        else:
            self.well()
            if refusal.code in (0, _BAD_REQUEST) or refusal.err_code == LIMIT_REACHED:
                self.acknowledgements(subject).answered()

    def asked(self) -> None:
        """Note a question to a leader that is not asked by `request`."""
        self._reads.asked()

    def answered(self) -> None:
        """Note that a leader has answered."""
        self._reads.answered()

    def well(self) -> None:
        """Stop the clocks of reads and writes, for an answer that only a server which is well can give.

        Such answers are: a write is stored or refused, no stream has this name, a right is denied.
        """
        self._reads.answered()
        self._writes.answered()

    def acknowledgements(self, subject: str) -> Silence:
        """Return the failure detector of writes to all subjects with the same first two tokens.

        A refusal that only a stream which takes writes can give counts as an acknowledgement.
        """
        kind = ".".join(subject.split(".", 2)[:2])
        return self._acknowledged.setdefault(kind, Silence())

    @property
    def server_version(self) -> str:
        """Return the version of the server that the client is at, such as 2.12.1; empty before the first one."""
        return str(self._server_info.get("version", ""))

    def note_error(self, error: Exception) -> bool:
        """Note an error of the client, and return whether it is to be logged: whether `Complaints.is_new`.

        While a server refuses the credentials, or no TLS is agreed on, each error doubles the pause before the next
        attempt to connect, up to `RECONNECT_WAIT_S_MAX`. A denied right shows that the server is well.
        """
        is_new = self.complaints.is_new(error)
        if self.complaints.keep_out:
            wait_s = float(self.options["reconnect_time_wait"])
            self.options["reconnect_time_wait"] = min(RECONNECT_WAIT_S_MAX, 2 * wait_s)
        if (denied := self.complaints.denied) is not None and is_denial(error):
            self.counts.denials += 1
            self.well()
            self.deny(denied)
        return is_new

    def deny(self, denial: Denial) -> None:
        """Have every request on this subject fail with `Denied`: nobody will answer it."""
        super().deny(denial)
        self._asking.deny(denial)

    def note_connected(self, reconnect_wait_s: float) -> None:
        """Note that the client is connected: attempts to connect are `reconnect_wait_s` apart again."""
        self.complaints.end_outage()
        self.options["reconnect_time_wait"] = reconnect_wait_s

    @property
    def silent_s(self) -> float:
        """Return for how many seconds questions that only a leader answers have gone unanswered; 0 if none is open."""
        return max(self._reads.lasts_s, self._writes.lasts_s)

    def begin_anew(self) -> None:
        """Start the clock again, for the server that the client is at now."""
        self._reads.begin_anew()
        self._writes.begin_anew()

    async def watch(self) -> None:
        """Go to the next server whenever the current one has been silent for `SILENCE_S_MAX`, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            if self.is_connected and self.silent_s >= SILENCE_S_MAX:
                url = self.connected_url
                log.get().warning("broker_silent", server=None if url is None else url.hostname)
                self.begin_anew()
                await self.force_reconnect()
