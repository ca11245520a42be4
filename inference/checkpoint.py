"""Say what a checkpoint folder is and whether it runs here: `python -m inference.checkpoint FOLDER`.

Opens the folder by the same code as a cluster, in seconds, and reads no weight. Needs neither broker nor ranks. Prints
the facts and exits with 0, or prints in one sentence why the folder cannot be used and exits with 1.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from contracts.job import Generation, shift_of
from contracts.plan import degrees
from inference.ranks.device import choose
from inference.wan.checkpoint.components import Checkpoint, Component
from inference.wan.checkpoint.model_card import CARD_FILE, ModelCard, read_card
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.places import is_there
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.residual import large_type, wan_dtype

GB = 1e9
RANKS_SHOWN = (1, 2, 4, 8)
LABEL_CHARS = 16
LARGE = ("transformer", "text_encoder")
PLACES_IN_WORDS = {"accelerator": "in bfloat16 on an accelerator", "cpu": "in float32 on a CPU"}


def main(arguments: list[str]) -> int:
    """Print the facts of the folder in `arguments`, or on stderr why it cannot be used; return the exit code, 0 or 1.

    Exits with 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="just checkpoint", description="Say what a checkpoint folder is.")
    parser.add_argument("folder", type=Path, help="what MODEL_CKPT_DIR would be")
    folder: Path = parser.parse_args(arguments).folder
    try:
        checkpoint, card = open_checkpoint(folder), read_card(folder)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    for label, text in facts(folder, checkpoint, card):
        print(f"{label:<{LABEL_CHARS}}{text}")
    return 0


def facts(folder: Path, checkpoint: Checkpoint, card: ModelCard) -> Iterator[tuple[str, str]]:
    """Yield the facts of a folder that can be used, as labels and texts for a person. Reads no weight."""
    device = choose(0).type
    config = checkpoint.transformer.build_empty().config
    heads: int = config["num_attention_heads"]
    slowly = ", where only small models are of use" if device == "cpu" else ""
    yield "runs", f"yes: Wan2.1 image-to-video in the {checkpoint.layout} layout, on {device}{slowly}"
    yield "model", f"{card.name} ({CARD_FILE if is_there(folder / CARD_FILE) else 'by the name of its folder'})"
    yield "sizes", ", ".join(card.sizes)
    yield "default size", card.default_size
    yield "sample_shift", ", ".join(sorted({_shift_text(size, card) for size in card.sizes}, reverse=True))
    yield "attention", f"{config['num_layers']} layers, {heads} heads of {config['attention_head_dim']}"
    for name, part in checkpoint.components.items():
        yield name, _component_text(name, part)
    for ranks in RANKS_SHOWN:
        pairs = ", ".join(f"cfg={cfg},ulysses={ulysses}" for cfg, ulysses in degrees(ranks, heads))
        yield f"{ranks} rank{'s' if ranks > 1 else ''}", pairs
    for each in checkpoint.unused:
        yield "not used", str(each)


def _shift_text(size: str, card: ModelCard) -> str:
    """Return the `sample_shift` of jobs that ask for none; with the size, unless the card sets one for all sizes."""
    shift = shift_of(Generation(prompt="of any job"), size, card.sample_shift)
    return f"{shift:g}" if card.sample_shift is not None else f"{shift:g} for {size}"


def _component_text(name: str, part: Component) -> str:
    """Return the types and bytes of a component's tensors in its files, and its bytes once loaded whole on one rank."""
    stored = list(part.used.values())
    in_files = f"{_gb(sum(tensor.nbytes for tensor in stored))} of {_types({tensor.dtype for tensor in stored})}"
    if name not in LARGE:
        return f"{in_files} in its files, {_gb(_loaded_bytes(part, torch.float32))} in float32 once loaded"
    loaded = [f"{_gb(_loaded_bytes(part, large_type(kind)))} {where}" for kind, where in PLACES_IN_WORDS.items()]
    return f"{in_files} in its files, {' or '.join(loaded)}"


def _loaded_bytes(part: Component, dtype: torch.dtype) -> int:
    """Return the bytes of a component loaded as `dtype`, but for the small modules that stay float32 (`wan_dtype`)."""
    return sum(each.numel() * wan_dtype(name, dtype).itemsize for name, each in part.build_empty().named_parameters())


def _types(types: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(each).removeprefix("torch.") for each in types))


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / GB:.3g} GB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
