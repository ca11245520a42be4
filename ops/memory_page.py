"""Write `ops/memory.md`: what Wan2.1-14B needs of a card by each plan, and the plan that each kind of card gets.

Called by `ops.fit`.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from contracts.fitting import Room, fastest, needed, plans, thriftiest
from contracts.memory import PHASES, RESERVE_BYTES, Holding, Work
from contracts.model_shape import WAN_14B
from contracts.plan import Plan

PAGE = Path(__file__).parent / "memory.md"
GB = 1e9
CARDS = (24, 32, 64, 80)
LEFT_BY_DRIVER = 0.97
"""The share of a card's memory that its driver leaves to programs. A card of 80 GB has 80 · 2³⁰ bytes."""
RANKS = (1, 2, 4, 8)
HD = Work(width=1280, height=720, num_frames=81)
WORKS = (
    ("1280\\*720, 81 frames", HD),
    ("… with the attention cache", replace(HD, cached=True)),
    ("1280\\*720, 121 frames", replace(HD, num_frames=121)),
    ("… with the attention cache", replace(HD, num_frames=121, cached=True)),
    ("832\\*480, 81 frames", replace(HD, width=832, height=480)),
)
HEAD = f"""# Memory of Wan2.1-14B

Written by `just fit --page` from the formulas of `contracts/memory.py`; `just bench-memory` holds them against the code
itself. Weights of the two large models are in bf16, CLIP and VAE in fp32. A gigabyte is 10⁹ bytes; a card of 80 GB has
{80 * 2**30 * LEFT_BY_DRIVER / GB:.1f} of them for programs. `needs` is the worst phase, and {RESERVE_BYTES / GB:.0f} GB
for the driver, communication and kernels. `just fit --help` says what else may be asked.
"""


def card_bytes(gigabytes: int) -> int:
    """Return the bytes that programs have of a card with so many gigabytes in its name."""
    return int(gigabytes * 2**30 * LEFT_BY_DRIVER)


def in_words(plan: Plan) -> str:
    """Return a plan as the setting PLAN has it."""
    flags = [flag for flag in ("dit_fsdp", "t5_fsdp", "vae_parallel") if getattr(plan, flag)]
    return ",".join([f"cfg={plan.cfg_size}", f"ulysses={plan.ulysses_size}", *flags])


def write_page() -> str:
    """Write the page, and return a sentence that says so."""
    PAGE.write_text(page(), encoding="utf-8")
    return f"wrote {PAGE.name}"


def page() -> str:
    """Return the content of the page."""
    return "\n".join([HEAD, *_phases(), "", *_choices(), ""])


def _phases() -> Iterator[str]:
    yield "## What each plan needs, at 1280\\*720 and 81 frames\n"
    yield f"| cards | `PLAN` | {' | '.join(PHASES)} | needs |"
    yield f"|{'---|' * (len(PHASES) + 3)}"
    for ranks in RANKS:
        room = _room(ranks, CARDS[0])
        for plan in plans(ranks, WAN_14B.heads):
            if plan.cfg_size * plan.ulysses_size == ranks:
                peaks = room.peaks(HD, plan)
                figures = " | ".join(f"{getattr(peaks, phase) / GB:.1f}" for phase in PHASES)
                yield f"| {ranks} | `{in_words(plan)}` | {figures} | {needed(peaks) / GB:.1f} |"


def _choices() -> Iterator[str]:
    yield "## The plan that a cluster gets\n"
    yield "The fastest that fits, and what it needs; where none fits, the least that any plan needs.\n"
    yield f"| cards | video | {' | '.join(f'{card} GB' for card in CARDS)} |"
    yield f"|{'---|' * (len(CARDS) + 2)}"
    for ranks in RANKS:
        for name, work in WORKS:
            yield f"| {ranks} | {name} | {' | '.join(_choice(_room(ranks, card), work) for card in CARDS)} |"


def _choice(room: Room, work: Work) -> str:
    plan = fastest(room, work)
    if plan is None:
        return f"no: {needed(room.peaks(work, thriftiest(room, work))) / GB:.1f}"
    return f"`{in_words(plan)}`: {needed(room.peaks(work, plan)) / GB:.1f}"


def _room(ranks: int, card: int) -> Room:
    return Room(card_bytes=card_bytes(card), shape=WAN_14B, holding=Holding(ranks=ranks))
