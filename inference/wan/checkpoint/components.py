"""A checkpoint's components as both layouts describe them, and the checks of each component and of small JSON files.

The layouts make a `Checkpoint`; `open` checks its components; `load` reads their tensors.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedModel

from contracts import json_body, members
from inference.wan.checkpoint.content import mistaken
from inference.wan.checkpoint.places import CONFIG_FILE
from inference.wan.checkpoint.relatives import WANTED, in_tensors
from inference.wan.checkpoint.tensors import CheckpointError, Stored
from inference.wan.checkpoint.unused import NotUsed

T = TypeVar("T")

NOTHING = r"(?!)"  # a pattern that no name matches
OF_A_CHECKPOINT = " of a Wan2.1 checkpoint"
FOR_PEOPLE = (".md", ".txt")
_FIELD = re.compile(r"field '(\w{1,64})'")
"""How the libraries name the configuration key that they reject."""
FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class Component:
    """A component of a checkpoint, unread: `build` makes its module, `stored` are its tensors in the files.

    The keys of `stored` are the module's parameter names, passed through `canonical`. Names that match the pattern
    `unused` belong to a larger model with which the component was saved, and are ignored.
    """

    where: Path
    build: Callable[[], nn.Module]
    stored: Mapping[str, Stored]
    canonical: Callable[[str], str] = str
    unused: str = NOTHING

    @property
    def used(self) -> dict[str, Stored]:
        """The tensors of `stored` that belong to the component, in the same order."""
        return {name: tensor for name, tensor in self.stored.items() if not re.match(self.unused, name)}

    def build_empty(self) -> Any:
        """Build the module with parameters on the meta device, without memory; its buffers are real.

        It is in evaluation mode, without gradients. Its shared parameters are tied. Raises whatever the model class
        raises for a faulty configuration, unless `check_component` has passed.
        """
        with init_empty_weights(include_buffers=False):
            model = self.build().eval().requires_grad_(requires_grad=False)
        if isinstance(model, PreTrainedModel):
            model.tie_weights()  # UMT5's embedding has two names, which became two parameters
        return model


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint folder, whose tensors are not yet read.

    `configs` are the small files that decide how the components compute, by name; `unused` are weight files that belong
    to no component.
    """

    transformer: Component
    vae: Component
    text_encoder: Component
    image_encoder: Component
    tokenizer: Path
    image_processor: Callable[[], Any]
    configs: Mapping[str, Path]
    layout: str = "drawn"
    unused: Sequence[NotUsed] = ()

    @property
    def components(self) -> dict[str, Component]:
        return {
            "transformer": self.transformer,
            "vae": self.vae,
            "text_encoder": self.text_encoder,
            "image_encoder": self.image_encoder,
        }


def check_component(component: Component) -> None:
    """Raise `CheckpointError` unless the files hold exactly the component's parameters, in shape and as floats.

    Also raised if the component's configuration builds no model. Tensors that are `unused` may be there.
    """
    wanted = {
        component.canonical(name): tuple(parameter.shape) for name, parameter in _built(component).named_parameters()
    }
    unknown = [name for name in component.used if name not in wanted]
    if (relative := in_tensors(unknown)) is not None:
        raise CheckpointError(f"{component.where}: expected {WANTED}, found {relative} (by its tensor {unknown[0]})")
    missing = [name for name in wanted if name not in component.stored]
    if missing:
        raise CheckpointError(f"{component.where}: expected a tensor {_list(missing)}, found none")
    for name, shape in wanted.items():
        stored = component.stored[name]
        expect(stored.file, f"{name} of shape {list(shape)}", list(stored.shape), list(shape))
        if stored.dtype not in FLOATS:
            raise CheckpointError(f"{stored.file}: expected {name} in floats of 16 bits or more, found {stored.dtype}")
    if unknown:
        raise CheckpointError(f"{component.where}: expected no other tensors than Wan2.1's, found {_list(unknown)}")


def _built(component: Component) -> nn.Module:
    """Return the empty module. Raises `CheckpointError`, with the faulty key if it is known, if it cannot be built."""
    try:
        return component.build_empty()
    except Exception as error:  # model classes raise anything for inconsistent numbers
        found = _blamed(component, str(error)) or "values that it cannot be built of"
        place = f" ({CONFIG_FILE})" if component.where.is_dir() else ""
        raise CheckpointError(
            f"{component.where}: expected a configuration to build the model by, found {found}{place}"
        ) from error


def _blamed(component: Component, complaint: str) -> str | None:
    """Return the configuration key that a library's complaint names, with its value; None if no key is named."""
    file, named = component.where / CONFIG_FILE, _FIELD.search(complaint)
    if named is None or not file.is_file():
        return None
    config = decoded(file, OF_A_CHECKPOINT)
    if not isinstance(config, dict) or named[1] not in config:
        return None
    return f"{named[1]} {members.shown(cast('dict[str, object]', config)[named[1]])}, which it cannot be"


def _list(names: list[str]) -> str:
    """Return the first name, and in brackets the number of the others."""
    more = len(names) - 1
    return names[0] if not more else f"{names[0]} (and {more} more)"


def expect(where: Path, expected: str, found: object, wanted: object) -> None:
    """Raise `CheckpointError` about the path `where` unless `found` equals `wanted`, which `expected` puts in words."""
    if found != wanted:
        raise CheckpointError(f"{where}: expected {expected}, found {'none' if found is None else found}")


def check_small(file: Path) -> None:
    """Raise `CheckpointError` if a component's small file is, for example, an HTML page or broken JSON.

    Folders, hidden files and files for people, such as a README, may hold anything.
    """
    if file.suffix == ".json":
        read_json(file, object)
        return
    counts = not file.is_dir() and not file.name.startswith(".") and file.suffix not in FOR_PEOPLE
    if counts and (found := mistaken(file)) is not None:
        raise CheckpointError(f"{file}: expected this file of a Wan2.1 checkpoint, found {found}")


def read_json(file: Path, kind: type[T], of: str = OF_A_CHECKPOINT) -> T:
    """Return a small JSON file as a `kind`. Raises `CheckpointError` that says what was found instead.

    `of` ends the name of the file in the error.
    """
    content = decoded(file, of)
    try:
        return members.convert(content, kind)
    except members.Faulty as error:
        raise CheckpointError(f"{file}: expected the file{of}, found that {error}") from error


def decoded(file: Path, of: str) -> object:
    """Return the value in a small JSON file, of any type. Raises `CheckpointError` if the file holds no JSON.

    `of` ends the name of the file in the error, such as `OF_A_CHECKPOINT`.
    """
    if (found := mistaken(file)) is not None:
        raise CheckpointError(f"{file}: expected this file{of}, found {found}")
    try:
        return json_body.decode(file.read_bytes(), object)[0]
    except json_body.NotJson as error:
        raise CheckpointError(f"{file}: expected the file{of}, found that it is not JSON: {error.reason}") from error
