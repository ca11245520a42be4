"""What a model says of itself: its name and the sizes of the videos that it makes. Knows no weights."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from contracts.job import SIDE_MULTIPLE, ImageSize, parse_size
from inference.wan.parts import read_json
from inference.wan.weights import CheckpointError

CARD_FILE = "wanjet.json"
WAN21_SIZES = ["1280*720", "720*1280", "832*480", "480*832"]


class ModelCard(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model says of itself. `large_sizes` are those that it can make but only advertises on request."""

    name: str
    sizes: Annotated[list[ImageSize], Meta(min_length=1)]
    default_size: ImageSize
    large_sizes: list[ImageSize] = []


def read_card(folder: Path, *, large_sizes: bool = False) -> ModelCard:
    """The folder's own card; without one it is taken for Wan2.1-14B under the folder's name."""
    file = folder / CARD_FILE
    if not file.exists():
        return ModelCard(folder.resolve().name, WAN21_SIZES, WAN21_SIZES[0])
    card = read_json(file, ModelCard)
    if large_sizes:
        card = msgspec.structs.replace(card, sizes=card.sizes + [s for s in card.large_sizes if s not in card.sizes])
    _check_card(card, file)
    return card


def _check_card(card: ModelCard, file: Path) -> None:
    odd = [size for size in card.sizes if any(side % SIDE_MULTIPLE for side in parse_size(size))]
    if odd:
        raise CheckpointError(f"{file}: expected sides that are multiples of {SIDE_MULTIPLE}, found {', '.join(odd)}")
    if card.default_size not in card.sizes:
        raise CheckpointError(f"{file}: expected default_size among {', '.join(card.sizes)}, found {card.default_size}")
