"""Says how many layers of a 14B fit one card by the estimate. Pure; `whole` asks before it draws them."""

from msgspec.structs import replace

from contracts.fitting import needed
from contracts.memory import Holding, Work, estimate
from contracts.model_shape import ModelShape
from contracts.plan import Plan

WORK = Work(width=1280, height=720, num_frames=81)
ONE_CARD = Plan(cfg_size=1, ulysses_size=1)


def layers_that_fit(shape: ModelShape, work: Work, holding: Holding, card_bytes: int) -> int:
    """Return how many of the shape's layers, all at most, fit a card of so many bytes by the estimate; 0 for none."""

    def fits(layers: int) -> bool:
        return needed(estimate(replace(shape, layers=layers), work, ONE_CARD, holding)) <= card_bytes

    return next((layers for layers in range(shape.layers, 0, -1) if fits(layers)), 0)
