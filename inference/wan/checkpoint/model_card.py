"""Reads the model card, `wanjet.json` in a checkpoint's folder: the model's name and its video sizes."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from contracts import members
from contracts.bounds import NAME_CHARS_MAX
from contracts.cluster import SIZES_MAX
from contracts.job import SIDE_MULTIPLE, SIZES_480P, ImageSize, Shift, parse_size
from inference.wan.checkpoint.components import decoded
from inference.wan.checkpoint.places import is_there
from inference.wan.checkpoint.tensors import CheckpointError

CARD_FILE = "wanjet.json"
CARD_IN_WORDS = " with a name, sizes as W*H and a default_size"
CARD_SIZES_MAX = SIZES_MAX // 2
"""Limit of each of the two lists; a heartbeat has to hold both."""
WAN21_SIZES = ["1280*720", "720*1280", *SIZES_480P]

SNAPSHOTS, HUB_MODEL = "snapshots", "models--"
"""The hub's cache has a model at `models--ORG--NAME/snapshots/<hash>`."""


class ModelCard(Struct, frozen=True, forbid_unknown_fields=True):
    """Name, sizes and defaults of a model, as its checkpoint states them.

    `large_sizes` are supported sizes that the model advertises only on request; `sample_shift` is the default of jobs
    that do not set theirs, whatever their size.
    """

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    sizes: Annotated[list[ImageSize], Meta(min_length=1, max_length=CARD_SIZES_MAX)]
    default_size: ImageSize
    large_sizes: Annotated[list[ImageSize], Meta(max_length=CARD_SIZES_MAX)] = []
    sample_shift: Shift | None = None


def read_card(folder: Path, *, large_sizes: bool = False) -> ModelCard:
    """Return the folder's card; a folder without one is taken for Wan2.1-14B, named after the folder.

    Wan2.1 is published for two resolutions with the same tensors: `480P` in the name makes the smaller one the default
    size. With `large_sizes` the card's large sizes are added to its sizes. Raises `CheckpointError` for a bad card.
    """
    file = folder / CARD_FILE
    if not is_there(file):
        name = _name(folder)
        return ModelCard(name, WAN21_SIZES, SIZES_480P[0] if _is_480p(name, folder) else WAN21_SIZES[0])
    try:
        card = members.convert(decoded(file, CARD_IN_WORDS), ModelCard)
    except members.Faulty as error:
        raise CheckpointError(f"{file}: {error}") from error
    if large_sizes:
        card = msgspec.structs.replace(card, sizes=card.sizes + [s for s in card.large_sizes if s not in card.sizes])
    _check_card(card, file)
    return card


def _name(folder: Path) -> str:
    """Return the folder's name, or in the hub's cache the model's name."""
    place = folder.resolve()
    if place.parent.name == SNAPSHOTS and (model := place.parent.parent.name).startswith(HUB_MODEL):
        return model.rpartition("--")[2]
    return place.name


def _is_480p(*places: str | Path) -> bool:
    """Return whether a name of these, or the last part of a path, has `480p`, in any case, and none has `720p`."""
    names = [Path(place).name.lower() for place in places]
    return any("480p" in name for name in names) and not any("720p" in name for name in names)


def _check_card(card: ModelCard, file: Path) -> None:
    """Raise `CheckpointError` if a side is no multiple of `SIDE_MULTIPLE`, or the default size is not listed."""
    odd = [
        size
        for size in dict.fromkeys(card.sizes + card.large_sizes)
        if any(side % SIDE_MULTIPLE for side in parse_size(size))
    ]
    if odd:
        raise CheckpointError(f"{file}: expected sides that are multiples of {SIDE_MULTIPLE}, found {', '.join(odd)}")
    if card.default_size not in card.sizes:
        raise CheckpointError(f"{file}: expected default_size among {', '.join(card.sizes)}, found {card.default_size}")
