"""Attacks on a real edge: `python -m tests.attacks.run [NAMES…]`, all of them without names. Prints a table.

Each attack is made twice, on an edge of its own each time: once to see it come and go, once to end the edge under it.
The exit code says whether every row keeps the limits that are named below.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks.attack import Attack, attack, names
from tests.attacks.pressure import STANDS
from tests.attacks.target import Target, target
from tests.attacks.witness import Witness
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment

PEAK_MB_MAX = 400.0
GAP_S_MAX = 1.0
END_S_MAX = 20.0
STANDS_WITHIN_S = 120.0
SETTLES_S = 10.0
PROBED = ("/livez", "status")


@dataclass
class Row:
    """What came of one attack."""

    attack: Attack
    before_mb: float = 0
    peak_mb: float = 0
    after_mb: float = 0
    descriptors: tuple[int, int, int] = (0, 0, 0)
    witness: Witness = field(default_factory=lambda: Witness(0, ""))
    cpu_s: float = 0
    end_s: float = 0
    log_lines: int = 0
    """Written from SIGTERM on."""

    @property
    def wrong(self) -> list[str]:
        """Return which limits the row does not keep."""
        found = [] if self.peak_mb <= PEAK_MB_MAX else [f"peak {self.peak_mb:.0f} MB"]
        found += [f"gap {kind} {self.witness.gaps_s[kind]:.1f} s" for kind in PROBED if self._gap(kind) > GAP_S_MAX]
        found += [] if self.end_s <= END_S_MAX else [f"SIGTERM {self.end_s:.1f} s"]
        for kind, answers in self.witness.answers.items():
            found += [f"{kind} {answer}" for answer in answers if answer not in allowed(kind)]
        return found

    def _gap(self, kind: str) -> float:
        return self.witness.gaps_s[kind]

    @property
    def cells(self) -> list[str]:
        memory = f"{self.before_mb:.0f} / {self.peak_mb:.0f} / {self.after_mb:.0f}"
        gaps = " / ".join(f"{self._gap(kind):.2f}" for kind in PROBED)
        heard = "; ".join(
            f"{kind} " + ", ".join(f"{count}×{answer}" for answer, count in answers.most_common())
            for kind, answers in self.witness.answers.items()
        )
        files = " / ".join(str(count) for count in self.descriptors)
        ending = f"{self.end_s:.1f} s, {self.log_lines} lines"
        return [
            self.attack.title,
            memory,
            files,
            f"{self.cpu_s:.1f}",
            gaps,
            heard,
            ending,
            "; ".join(self.wrong) or "kept",
        ]


HEAD = [
    "attack", "RSS before / peak / after, MB", "descriptors", "CPU, s", "longest gap livez / status, s",
    "legitimate requests", "SIGTERM", "limits",
]  # fmt: skip


def allowed(kind: str) -> tuple[str, ...]:
    """Return which answers to a legitimate request are right. No cluster lives, and none is needed."""
    return {"submit": ("202",)}.get(kind, ("200",))


@asynccontextmanager
async def pressed(described: Attack, port: int) -> AsyncGenerator[None, None]:
    """The attack, under way in full, for the length of the block."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.attacks.pressure", described.name, str(port),
        cwd=REPOSITORY, env=environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(STANDS_WITHIN_S):
            line = await child.stdout.readline()
        assert line.decode().strip() == STANDS, f"{described.name} does not stand: {line!r}"
        yield
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def come_and_go(row: Row, folder: Path) -> None:
    """Measure memory, and what legitimate clients see, before, during and after the attack."""
    async with target(folder, row.attack.variables) as attacked:
        row.witness = Witness(attacked.port, attacked.job_id)
        row.before_mb, files, cpu_s = attacked.rss_mb, attacked.descriptors, attacked.cpu_s
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(row.witness.watch(stop))
            async with pressed(row.attack, attacked.port):
                await asyncio.sleep(row.attack.hold_s)
                held = attacked.descriptors
            await asyncio.sleep(SETTLES_S)
            stop.set()
        row.peak_mb, row.after_mb, row.cpu_s = attacked.peak_mb, attacked.rss_mb, attacked.cpu_s - cpu_s
        row.descriptors = (files, held, attacked.descriptors)
        await attacked.end()


async def end_under_it(row: Row, folder: Path) -> None:
    """Measure how long an edge takes to end while it is attacked, and what it logs meanwhile."""
    async with target(folder, row.attack.variables) as attacked, pressed(row.attack, attacked.port):
        lines = count_of_lines(attacked)
        row.end_s = await attacked.end()
        row.log_lines = count_of_lines(attacked) - lines


def count_of_lines(attacked: Target) -> int:
    return attacked.edge.text.count("\n")


async def measure(described: Attack) -> Row:
    row = Row(described)
    for part in (come_and_go, end_under_it):
        with tempfile.TemporaryDirectory() as folder:
            await part(row, Path(folder))
    return row


async def main(wanted: Sequence[str]) -> int:
    rows: list[Row] = []
    for name in wanted or names():
        began = time.monotonic()
        rows.append(await measure(attack(name)))
        print(f"{name}: {'; '.join(rows[-1].wrong) or 'kept'} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    for cells in [HEAD, ["---"] * len(HEAD), *(row.cells for row in rows)]:
        print(f"| {' | '.join(cells)} |")
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
