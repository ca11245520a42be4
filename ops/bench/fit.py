"""Sets the estimate of `contracts.memory` against the measurement of `phases`, for Wan2.1-14B: `just bench-memory`.

Prints a row for each plan: both in gigabytes for each phase, and the ratio of the worst. Takes minutes of one core and
no card.
"""

import sys

from msgspec import Struct

from contracts.memory import PHASES, Holding, Peaks, Work, estimate
from contracts.model_shape import WAN_14B
from contracts.plan import Plan
from ops.bench.phases import measured

GB = 1e9
APART_MAX = 0.05
"""The share by which estimate and measurement may differ."""


class Row(Struct, frozen=True):
    """A job on a cluster: its work, its plan and the number of ranks."""

    ranks: int
    plan: Plan
    work: Work

    def __str__(self) -> str:
        plan, work = self.plan, self.work
        flags = "".join(f" {flag}" for flag in ("dit_fsdp", "t5_fsdp", "vae_parallel") if getattr(plan, flag))
        cached = " cached" if work.cached else ""
        size = f"{work.width}*{work.height} x {work.num_frames}"
        return f"{self.ranks} cfg={plan.cfg_size} ulysses={plan.ulysses_size}{flags}, {size}{cached}"


def _rows() -> list[Row]:
    """Return the rows: plans for 1 to 8 ranks, with and without the attention cache, long videos and small ones."""
    hd = Work(width=1280, height=720, num_frames=81)
    cached = Work(width=1280, height=720, num_frames=81, cached=True)
    longer = Work(width=1280, height=720, num_frames=121)
    longer_cached = Work(width=1280, height=720, num_frames=121, cached=True)
    small = Work(width=832, height=480, num_frames=81)
    small_cached = Work(width=832, height=480, num_frames=81, cached=True)
    alone = Plan(cfg_size=1, ulysses_size=1)

    def gathered(cfg: int, ulysses: int) -> Plan:
        return Plan(cfg_size=cfg, ulysses_size=ulysses, vae_parallel=True)

    def sharded(cfg: int, ulysses: int, *, vae_parallel: bool = True) -> Plan:
        return Plan(cfg_size=cfg, ulysses_size=ulysses, dit_fsdp=True, t5_fsdp=True, vae_parallel=vae_parallel)

    return [
        *(Row(1, alone, work) for work in (hd, cached, small, small_cached)),
        *(Row(8, gathered(2, 4), work) for work in (hd, cached, longer)),
        *(Row(8, sharded(2, 4), work) for work in (hd, cached, longer, longer_cached)),
        Row(8, sharded(2, 4, vae_parallel=False), hd),
        *(Row(8, sharded(1, 8), work) for work in (hd, cached)),
        Row(2, gathered(2, 1), hd),
        *(Row(2, sharded(2, 1), work) for work in (hd, cached)),
        Row(2, Plan(cfg_size=1, ulysses_size=2, t5_fsdp=True), hd),
        Row(4, gathered(2, 2), hd),
        *(Row(4, sharded(2, 2), work) for work in (hd, cached)),
    ]


ROWS = _rows()


def main() -> int:
    """Print every row, and return 1 if a phase of a row is further apart than `APART_MAX`."""
    print("GB, estimated / measured: " + ", ".join(PHASES) + "; worst phase, its ratio")
    furthest = 0.0
    for row in ROWS:
        by_formula = estimate(WAN_14B, row.work, row.plan, Holding(ranks=row.ranks))
        by_code = measured(WAN_14B, row.work, row.plan, row.ranks)
        furthest = max(furthest, apart(by_formula, by_code))
        both = "  ".join(f"{getattr(by_formula, p) / GB:.1f}/{getattr(by_code, p) / GB:.1f}" for p in PHASES)
        print(f"{row!s:<72} {both}  {by_code.worst} {by_formula.bytes / by_code.bytes:.3f}", flush=True)
    print(f"furthest apart in any phase: {furthest:.1%}")
    return 1 if furthest > APART_MAX else 0


def apart(by_formula: Peaks, by_code: Peaks) -> float:
    """Return the largest share by which two peaks of one phase differ."""
    return max(abs(getattr(by_formula, phase) / getattr(by_code, phase) - 1) for phase in PHASES)


if __name__ == "__main__":
    sys.exit(main())
