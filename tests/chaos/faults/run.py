"""Every fault at every phase of a job: `python -m tests.chaos.faults.run [SHARD/SHARDS] [WORDS…]`. Prints a table.

A shard is every so manieth trial; WORDS keep those trials whose fault or phase has one of them.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.events import JobSucceeded
from tests.chaos.faults import checker
from tests.chaos.faults.service import Doubled, Lost, NeedsAHand, Service, running
from tests.chaos.faults.trial import Reference, Trial, undisturbed
from tests.chaos.faults.trials.catalogue import all_trials

TRIAL_S_MAX = 400.0
MORE_DESCRIPTORS_MAX = 20
MORE_MEGABYTES_MAX = 200


@dataclass
class Kept:
    """What came of the trials of one fault."""

    seconds: list[float] = field(default_factory=list[float])
    errors: list[BaseException] = field(default_factory=list[BaseException])

    def count(self, kind: type[BaseException]) -> int:
        return sum(isinstance(error, kind) for error in self.errors)


async def run(trials: Sequence[Trial], service: Service) -> list[str]:
    """Run them all, print the table, and return what went wrong."""
    kept: dict[str, Kept] = defaultdict(Kept)
    wrong: list[str] = []
    Reference.made = None
    Reference.made = await digest(service, await undisturbed(service))
    await undisturbed(service)
    before, held = checker.descriptors(service), checker.megabytes(service)
    for number, trial in enumerate(trials, start=1):
        began = time.monotonic()
        try:
            async with asyncio.timeout(TRIAL_S_MAX):
                seconds = await trial.run(service)
            kept[trial.fault].seconds.append(seconds)
            how = f"went on after {seconds:.1f} s"
        except* (AssertionError, TimeoutError, OSError) as errors:
            error = first_of(errors)
            how = f"FAILED: {error!r:.300}"
            kept[trial.fault].errors.append(error)
            wrong.append(f"{trial.fault}, {trial.phase}: {error!r:.1000}")
            await service.undo()
        took_s = time.monotonic() - began
        print(f"{number}/{len(trials)} {trial.fault}, {trial.phase}: {how} ({took_s:.1f} s)", flush=True)
    if not wrong:
        try:
            await checker.nothing_is_left(service)
        except AssertionError as error:
            wrong.append(f"at the end: {error!r:.1000}")
    wrong += checker.rights_missed(service)
    after, holds = checker.descriptors(service), checker.megabytes(service)
    wrong += more(before, after, MORE_DESCRIPTORS_MAX, "descriptors") + more(held, holds, MORE_MEGABYTES_MAX, "MB")
    print(table(kept))
    print(f"descriptors before and after: {before}, {after}")
    print(f"MB of memory before and after: {held}, {holds}")
    return wrong


def more(before: dict[str, int], after: dict[str, int], allowed: int, what: str) -> list[str]:
    return [
        f"{name} holds {after[name]} {what}, {count} before"
        for name, count in before.items()
        if after[name] > count + allowed
    ]


async def digest(service: Service, job_id: str) -> str:
    async with service.link() as link:
        return next(event.sha256 for event in await service.log(link, job_id) if isinstance(event, JobSucceeded))


def first_of(error: BaseException) -> BaseException:
    """What lies inside groups of one."""
    return first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def table(kept: dict[str, Kept]) -> str:
    head = "fault | trials | jobs lost | jobs doubled | hands needed | otherwise wrong | seconds until work went on"
    lines = [f"| {head}: median, worst |", "|---" * 7 + "|"]
    for fault, outcome in kept.items():
        counts = [outcome.count(kind) for kind in (Lost, Doubled, NeedsAHand)]
        other = len(outcome.errors) - sum(counts)
        took = outcome.seconds
        seconds = f"{statistics.median(took):.1f}, {max(took):.1f}" if took else ""
        cells = [fault, len(took) + len(outcome.errors), *counts, other, seconds]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def chosen(arguments: Sequence[str]) -> list[Trial]:
    words = [word for word in arguments if "/" not in word]
    shard, shards = next((map(int, word.split("/")) for word in arguments if "/" in word), (1, 1))
    trials = list(all_trials())[shard - 1 :: shards]
    return [trial for trial in trials if not words or any(word in f"{trial.fault}, {trial.phase}" for word in words)]


async def main(arguments: Sequence[str]) -> None:
    began = time.monotonic()
    trials = chosen(arguments)
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as service:
            wrong = await run(trials, service)
    print(f"{len(trials)} trials in {(time.monotonic() - began) / 60:.0f} minutes, {len(wrong)} went wrong")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
