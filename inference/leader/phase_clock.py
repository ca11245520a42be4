"""Time the phases of an attempt, for the `timings` of its success. Each `Attempt` has a `PhaseClock`."""

import time
from collections.abc import Callable

from contracts.stage_times import Timings


class PhaseClock:
    """The phases of one attempt in their order, each a field of `Timings`; a phase ends when the next one begins.

    `on_phase` is called with the name of each that begins.
    """

    def __init__(self, on_phase: Callable[[str], None]) -> None:
        self._phases: list[tuple[str, float]] = []
        self._on_phase = on_phase

    def begin(self, phase: str) -> None:
        """Begin to time a phase, and end the phase before it."""
        self._phases.append((phase, time.monotonic()))
        self._on_phase(phase)

    def timings(self, *, load_s: float) -> Timings | None:
        """Return the seconds of each phase, the last of which ends now; None if none has begun.

        For an attempt whose phases have all begun: only `encode` may be missing, and is then 0.
        """
        return Timings(load=round(load_s, 3), **{"encode": 0.0, **self.seconds()}) if self._phases else None

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase that has begun, by its name; the last one ends now."""
        ends = [*(at for _, at in self._phases[1:]), time.monotonic()]
        return {phase: round(end - at, 3) for (phase, at), end in zip(self._phases, ends, strict=False)}
