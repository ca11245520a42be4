"""Choice of the fastest plan that fits a card's memory, and the changes to a job that would make it fit. Pure.

A cluster chooses its own plan with it, edge and cluster the plan of a job; `just fit` shows the choices.
"""

from collections.abc import Iterator

from msgspec import Struct

from contracts.bounds import SizeBytes
from contracts.memory import RESERVE_BYTES, Holding, Peaks, Work, estimate
from contracts.model_shape import ModelShape
from contracts.plan import Plan, degrees


class Room(Struct, frozen=True, kw_only=True):
    """The memory of a cluster, as its heartbeat carries it: of each card, and the numbers that say what a job needs.

    `card_bytes` is the memory that torch can use on the smallest card, with nothing on it.
    """

    card_bytes: SizeBytes
    shape: ModelShape
    holding: Holding

    def peaks(self, work: Work, plan: Plan) -> Peaks:
        """Return what a rank needs for the work by this plan."""
        return estimate(self.shape, work, plan, self.holding)

    def fits(self, work: Work, plan: Plan) -> bool:
        """Return whether the work fits the card by this plan, with `RESERVE_BYTES` to spare."""
        return needed(self.peaks(work, plan)) <= self.card_bytes


def needed(peaks: Peaks) -> int:
    """Return the bytes of the card that has room for these peaks."""
    return peaks.bytes + RESERVE_BYTES


def plans(ranks: int, heads: int, *, guided: bool = True) -> Iterator[Plan]:
    """Yield the plans worth a choice, the fastest first.

    Degrees are in the order of `degrees`. By each of them, weights are gathered if possible: a sharded text encoder
    costs a gather for each prompt, a sharded transformer one for each step, 2 to 4 per cent of it over fast links.
    """
    sharding = ((False, False), (False, True), (True, True)) if ranks > 1 else ((False, False),)
    for cfg, ulysses in degrees(ranks, heads, guided=guided):
        for dit_fsdp, t5_fsdp in sharding:
            yield Plan(cfg_size=cfg, ulysses_size=ulysses, dit_fsdp=dit_fsdp, t5_fsdp=t5_fsdp, vae_parallel=ranks > 1)


def fastest(room: Room, work: Work) -> Plan | None:
    """Return the fastest plan by which the work fits the room; None if it fits by no plan."""
    every = plans(room.holding.ranks, room.shape.heads, guided=work.guided)
    return next((plan for plan in every if room.fits(work, plan)), None)


def thriftiest(room: Room, work: Work) -> Plan:
    """Return the plan by which the work needs the least memory."""
    every = plans(room.holding.ranks, room.shape.heads, guided=work.guided)
    return min(every, key=lambda plan: room.peaks(work, plan).bytes)
