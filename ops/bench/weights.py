"""Makes a Wan2.1 of any size with random weights, drawn on the device: no weight file is written or read.

The code that loads a checkpoint loads these weights too. Each tensor's name seeds its draw, so that every rank has the
same model.
"""

import math
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh

from contracts.model_shape import ModelShape
from inference.pocket.build import PocketShape, builders
from inference.wan import new_components
from inference.wan.checkpoint.components import Checkpoint, Component
from inference.wan.checkpoint.model_card import ModelCard
from inference.wan.checkpoint.tensors import Stored
from inference.wan.load import Wan, read
from ops.bench.setup import Setup, ShapeName

SHAPES: dict[ShapeName, PocketShape] = {
    "tiny": PocketShape(
        card=ModelCard(name="tiny", sizes=["64*48"], default_size="64*48"),
        vae_dim=4,
        vae_dim_mult=(1, 2, 2, 2),
        layers=2,
        heads=4,
        head_dim=16,
        text_dim=32,
        image_dim=16,
        image_side=28,
    ),
    "pocket": PocketShape(),
    # The transformer of Wan2.1-I2V-14B, with small encoders of the right width.
    "14b": PocketShape(
        card=ModelCard(name="14b", sizes=["1280*720"], default_size="1280*720"),
        layers=40,
        heads=40,
        head_dim=128,
        ffn_ratio=2.7,
        text_layers=1,
        text_dim=4096,
        image_dim=1280,
        image_side=224,
    ),
}


def shape_of(setup: Setup) -> PocketShape:
    """Return the shape that a setup asks for, with its number of layers."""
    shape = SHAPES[setup.shape]
    return shape if setup.layers is None else replace(shape, layers=setup.layers)


def drawn(shape: PocketShape, device: torch.device, *, mesh: DeviceMesh | None = None, fp8_linear: bool = False) -> Wan:
    """Return the model in the data types of a loaded checkpoint; with `mesh` its weights are sharded over the ranks.

    With a mesh it is a collective: every rank calls it.
    """
    return _drawn(builders(shape), shape.card, device, mesh=mesh, fp8_linear=fp8_linear)


def drawn_whole(shape: ModelShape, device: torch.device) -> Wan:
    """Return the model in which every component has the numbers of `shape`, the encoders and the VAE too."""
    make = {
        **builders(PocketShape(image_side=shape.image_side)),
        "transformer": lambda: new_components.transformer(shape),
        "vae": lambda: new_components.vae(shape),
        "text_encoder": lambda: new_components.text_encoder(shape),
        "image_encoder": lambda: new_components.image_encoder(shape),
    }
    return _drawn(make, SHAPES["14b"].card, device)


def _drawn(
    make: Mapping[str, Callable[[], Any]],
    card: ModelCard,
    device: torch.device,
    *,
    mesh: DeviceMesh | None = None,
    fp8_linear: bool = False,
) -> Wan:
    """Return the model of these constructors, by the names of components. With a `mesh` it is a collective."""
    parts: dict[str, Any] = {
        name: _part(make[name], device) for name in ("transformer", "vae", "text_encoder", "image_encoder")
    }
    with tempfile.TemporaryDirectory() as folder:
        make["tokenizer"]().save_pretrained(folder)
        checkpoint = Checkpoint(**parts, tokenizer=Path(folder), image_processor=make["image_processor"], configs={})
        return read(checkpoint, card, device, mesh=mesh, fp8_linear=fp8_linear)


def _part(build: Callable[[], Any], device: torch.device) -> Component:
    """Return a component, without a file, whose weights are drawn when they are read."""
    part = Component(Path("drawn"), build, {})
    names = part.build_empty().named_parameters()
    return replace(part, stored={name: _tensor(name, tuple(like.shape), device) for name, like in names})


def _tensor(name: str, shape: tuple[int, ...], device: torch.device) -> Stored:
    """Return a tensor of this shape that is drawn on the device when it is read: float32, seeded by its name.

    Norms' weights are 1, biases 0, and other weights normal with a variance of 1 / fan-in.
    """

    def draw(first: int, last: int) -> torch.Tensor:
        """Draw the whole tensor, and return its numbers `first` to `last` - 1, flat."""
        fan_in = math.prod(shape[1:])
        if fan_in == 1:  # a norm's weight, or a bias
            return torch.full((last - first,), 0.0 if name.endswith("bias") else 1.0, device=device)
        by_name = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
        whole = torch.empty(shape, device=device).normal_(std=fan_in**-0.5, generator=by_name)
        return whole.flatten()[first:last]

    return Stored(Path("drawn"), shape, torch.float32, draw)
