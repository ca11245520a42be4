"""The parts of a checkpoint as both layouts describe them, and what is checked of each. Knows neither layout."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedModel

from inference.wan.weights import CheckpointError, Stored

T = TypeVar("T")

NOTHING = r"(?!)"  # a pattern that no name matches
FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class Part:
    """One component: what builds it, and where its parameters lie.

    `stored` goes by the component's own parameter names, both passed through `canonical`; what matches `unused` in it
    belongs to something larger that it was saved with.
    """

    where: Path
    build: Callable[[], nn.Module]
    stored: Mapping[str, Stored]
    canonical: Callable[[str], str] = str
    unused: str = NOTHING

    @property
    def used(self) -> dict[str, Stored]:
        """What the component has of `stored`, in the same order."""
        return {name: tensor for name, tensor in self.stored.items() if not re.match(self.unused, name)}

    def empty(self) -> Any:
        """The component with parameters that have a shape but no memory; its buffers are real."""
        with init_empty_weights(include_buffers=False):
            model = self.build().eval().requires_grad_(requires_grad=False)
        if isinstance(model, PreTrainedModel):
            model.tie_weights()  # UMT5's embedding goes by two names, which emptying took apart
        return model


@dataclass(frozen=True)
class Checkpoint:
    """A folder that was opened, not yet read. `configs` are the small files that say how the parts compute, by name."""

    transformer: Part
    vae: Part
    text_encoder: Part
    image_encoder: Part
    tokenizer: Path
    image_processor: Callable[[], Any]
    configs: Mapping[str, Path]

    @property
    def parts(self) -> dict[str, Part]:
        return {
            "transformer": self.transformer,
            "vae": self.vae,
            "text_encoder": self.text_encoder,
            "image_encoder": self.image_encoder,
        }


def check_part(part: Part) -> None:
    """Raises `CheckpointError` unless the files hold exactly the component's parameters, in shape and as floats."""
    wanted = {part.canonical(name): tuple(parameter.shape) for name, parameter in part.empty().named_parameters()}
    missing = [name for name in wanted if name not in part.stored]
    if missing:
        raise CheckpointError(f"{part.where}: expected a tensor {_list(missing)}, found none")
    for name, shape in wanted.items():
        stored = part.stored[name]
        expect(stored.file, f"{name} of shape {list(shape)}", list(stored.shape), list(shape))
        if stored.dtype not in FLOATS:
            raise CheckpointError(f"{stored.file}: expected {name} in floats of 16 bits or more, found {stored.dtype}")
    unknown = [name for name in part.used if name not in wanted]
    if unknown:
        raise CheckpointError(f"{part.where}: expected no other tensors than Wan2.1's, found {_list(unknown)}")


def _list(names: list[str]) -> str:
    more = len(names) - 1
    return names[0] if not more else f"{names[0]} (and {more} more)"


def expect(where: Path, expected: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise CheckpointError(f"{where}: expected {expected}, found {'none' if found is None else found}")


def read_json(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: expected this file of a Wan2.1 checkpoint, found none") from None
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"{file}: expected the file of a Wan2.1 checkpoint, found that {error}") from error
