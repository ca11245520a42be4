"""Print which plans of a model fit which cards, and what a card needs in each phase: `just fit`.

Knows a model by the name `14b` or by a folder in diffusers' layout, of which only the `config.json` files are read. Its
page, `ops/memory.md`, is written by `just fit --page` and kept current by a test.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from contracts.bounds import RANKS_MAX
from contracts.fitting import Room, fastest, needed, plans, thriftiest
from contracts.job import ImageSize, parse_size, whole_frames
from contracts.memory import PHASES, RESERVE_BYTES, Holding, Work
from contracts.model_config import shape_of
from contracts.model_shape import WAN_14B, ModelShape
from contracts.plan import Plan, degrees
from ops.memory_page import CARDS, GB, card_bytes, in_words, write_page

COMPONENTS = ("transformer", "text_encoder", "image_encoder", "vae")
CARD_MAX = 1024
FRAMES_MAX = 121


class BadArgument(Exception):
    """An argument cannot be used; the text says what it was and what it may be."""


def main(arguments: list[str]) -> int:
    """Print the table, or write the page; return the exit code, 1 with one sentence for a bad argument."""
    asked = _parser().parse_args(arguments)
    if asked.page:
        print(write_page())
        return 0
    try:
        shape = _shape(asked.model)
        ranks = _whole("--ranks", asked.ranks, RANKS_MAX)
        cards = CARDS if asked.card is None else (_whole("--card", asked.card, CARD_MAX),)
        work = _work(asked.size, _whole("--frames", asked.frames, FRAMES_MAX), cached=asked.cached)
    except BadArgument as error:
        print(error, file=sys.stderr)
        return 1
    holding = Holding(
        ranks=ranks,
        text_offloaded=asked.offload_text_encoder,
        picture_models_offloaded=asked.offload_picture_models,
        fp8_linear=asked.fp8_linear,
    )
    for line in lines(shape, holding, cards, work):
        print(line)
    return 0


def lines(shape: ModelShape, holding: Holding, cards: tuple[int, ...], work: Work) -> Iterator[str]:
    """Yield a line for each plan with its gigabytes in every phase, then a sentence for each card."""
    ranks = holding.ranks
    size = f"{work.width}*{work.height}, {work.num_frames} frames{', attention cache' if work.cached else ''}"
    yield f"{size}, {ranks} rank{'s' if ranks > 1 else ''}: GB of each card at the peak of each phase, and in all"
    yield f"{'PLAN':<44}{''.join(f'{phase:>9}' for phase in PHASES)}{'needs':>9}  " + _fitting_header(cards)
    for plan in _shown(ranks, shape.heads):
        room = Room(card_bytes=card_bytes(cards[0]), shape=shape, holding=holding)
        peaks = room.peaks(work, plan)
        fits = " ".join(_mark(needed(peaks) <= card_bytes(card), card) for card in cards)
        figures = "".join(f"{getattr(peaks, phase) / GB:>9.1f}" for phase in PHASES)
        yield f"{in_words(plan):<44}{figures}{needed(peaks) / GB:>9.1f}  {fits}"
    for card in cards:
        yield _sentence(Room(card_bytes=card_bytes(card), shape=shape, holding=holding), card, work)
    yield f"'needs' has {RESERVE_BYTES / GB:.0f} GB for the driver, communication and kernels beside the worst phase."


def _shown(ranks: int, heads: int) -> Iterator[Plan]:
    """Yield the plans that use as many ranks as can work on one video."""
    most = max(cfg * ulysses for cfg, ulysses in degrees(ranks, heads))
    return (plan for plan in plans(ranks, heads) if plan.cfg_size * plan.ulysses_size == most)


def _fitting_header(cards: tuple[int, ...]) -> str:
    return "fits a card of " + ", ".join(map(str, cards)) + " GB"


def _mark(fits: bool, card: int) -> str:
    return f"{card}: yes" if fits else f"{card}: no "


def _sentence(room: Room, card: int, work: Work) -> str:
    """Return which plan a cluster of such cards would choose, or what is missing."""
    plan = fastest(room, work)
    if plan is not None:
        return f"{card} GB: runs by {in_words(plan)}, the fastest that fits."
    least = room.peaks(work, thriftiest(room, work))
    short = (needed(least) - room.card_bytes) / GB
    helps = "no attention cache, " if work.cached else ""
    return (
        f"{card} GB: fits by no plan; the least is {needed(least) / GB:.1f} GB at the phase {least.worst}, "
        f"{short:.1f} more than the card has. What needs less: {helps}fewer frames, a smaller size, more ranks."
    )


def _shape(model: str) -> ModelShape:
    if model == "14b":
        return WAN_14B
    folder = Path(model)
    try:
        return shape_of(*(_config(folder / name / "config.json") for name in COMPONENTS))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadArgument(
            f"--model was {model}; it may be 14b, or a checkpoint folder in diffusers' layout ({_why(error)})"
        ) from error


def _config(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes())


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return f"{error} is missing" if isinstance(error, KeyError) else "its configuration cannot be read"


def _whole(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise BadArgument(f"{name} was {text}; it may be a whole number from 1 to {most}")
    return int(text)


def _work(size: str, frames: int, *, cached: bool) -> Work:
    try:
        width, height = parse_size(msgspec.convert(size, ImageSize))
    except (msgspec.ValidationError, ValueError) as error:
        raise BadArgument(f"--size was {size}; it may be W*H in pixels, such as 1280*720") from error
    return Work(width=width, height=height, num_frames=whole_frames(frames), cached=cached)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just fit", description="Say which plans of a model fit which cards.")
    parser.add_argument("--model", default="14b", help="14b, or a checkpoint folder in diffusers' layout")
    parser.add_argument("--ranks", default="8", help="cards of the cluster")
    parser.add_argument("--card", help="gigabytes of each card, as its name has them; 24, 32, 64 and 80 by default")
    parser.add_argument("--size", default="1280*720", help="W*H of the video")
    parser.add_argument("--frames", default="81", help="frames of the video")
    parser.add_argument("--cached", action="store_true", help="with use_attentioncache")
    for setting in ("offload-text-encoder", "offload-picture-models", "fp8-linear"):
        name = setting.upper().replace("-", "_")
        parser.add_argument(f"--{setting}", action="store_true", help=f"with the setting {name}=1")
    parser.add_argument("--page", action="store_true", help="write ops/memory.md anew instead")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
