"""A client of the service under test: submits jobs over HTTP, waits for what becomes of them, and reads their logs."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec

from contracts import subjects, wire
from contracts.events import AnyEvent
from contracts.status import JobStatus
from ops import broker
from ops.local import demo, submission
from ops.local.sample_image import sample
from ops.local.stack import Stack

PROMPT = "the camera pans to the left"
POLL_S = 0.02


class Client:
    """Speaks to one stack. Every wait raises `TimeoutError` with the job's last status if it takes too long."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._picture = f"data:image/png;base64,{base64.b64encode(sample()).decode()}"

    def submit(self, fields: dict[str, Any]) -> str:
        """Submit a job with these fields beside picture and prompt; return its id. Raises `SystemExit` if refused."""
        body = {"prompt": PROMPT, "image_url": self._picture, "seed": 1, **fields}
        return submission.submit(self._stack.url, msgspec.json.encode(body))

    def ended(self, job_id: str, *, within_s: float) -> JobStatus:
        """Return the job's status once it has ended."""
        return self._once(job_id, lambda status: status.ended, within_s)

    def at_step(self, job_id: str, step: int, *, within_s: float) -> JobStatus:
        """Return the job's status once it has done so many steps, and is not done."""
        return self._once(job_id, lambda status: status.stage == "denoise" and status.step >= step, within_s)

    def at_attempt(self, job_id: str, attempt: int, *, within_s: float) -> JobStatus:
        """Return the job's status once this attempt has started."""
        return self._once(job_id, lambda status: status.attempt >= attempt, within_s)

    def log(self, job_id: str) -> list[AnyEvent]:
        """Return the job's events, oldest first."""
        return asyncio.run(self._log(job_id))

    async def _log(self, job_id: str) -> list[AnyEvent]:
        settings = broker.Settings(self._stack.nats_url, nats_keys=str(self._stack.keys))
        async with broker.connected(settings, name="gpu", user="operator") as bus:
            return list(wire.readable_events(await bus.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))))

    def _once(self, job_id: str, there: Callable[[JobStatus], bool], within_s: float) -> JobStatus:
        """Return the first status for which `there` is true."""
        deadline = time.monotonic() + within_s
        while not there(status := demo.status_of(self._stack.url, job_id)):
            if time.monotonic() > deadline or status.ended:
                raise TimeoutError(f"after {within_s:.0f} s at most: {status.status}, step {status.step}")
            time.sleep(POLL_S)
        return status
