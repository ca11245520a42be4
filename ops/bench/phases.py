"""Measures what a rank holds in each phase of a job, on fake tensors: the code of the product, at any size, no storage.

`fit` sets it beside the estimate. The process group is torch's fake one, whose collectives do nothing, so that one
process stands for rank 0 of any number of ranks. It measures an accelerator's work: bf16, and the VAE without what
speeds it up on a CPU.
"""

import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from PIL import Image
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.testing._internal.distributed.fake_pg import FakeStore

from contracts.memory import Peaks, Work
from contracts.model_shape import ModelShape
from contracts.plan import Plan
from inference.pocket.build import POCKET_CARD, PocketShape, builders
from inference.wan import new_components
from inference.wan.attention_cache import AttentionCache, Rule
from inference.wan.checkpoint.components import Checkpoint, Component
from inference.wan.checkpoint.tensors import Stored
from inference.wan.encode import encode_image, encode_text
from inference.wan.guidance import Conditions, predict_noise
from inference.wan.load import Wan, read
from inference.wan.parallel.fsdp import sharding_mesh
from inference.wan.parallel.mesh import Layout, Meshes
from inference.wan.parallel.ulysses import shared_tokens
from inference.wan.sharding import set_sharded
from inference.wan.vae import codec
from ops.bench.storages import Storages

HERE = torch.device("cpu")
EVERY_STEP_STORES = Rule(start=0, interval=1, end=1000)
CACHED_STEPS = 2
"""Steps after which every output is stored, and another one made beside it."""
GUIDANCE = 5.0
TIMESTEP = 999.0


def measured(shape: ModelShape, work: Work, plan: Plan, ranks: int) -> Peaks:
    """Return the peaks of rank 0 in bytes."""
    with _group(ranks), tempfile.TemporaryDirectory() as folder:
        layout = Meshes(HERE.type, ranks).layout(plan, latent_rows=work.latent_rows)
        mesh = sharding_mesh(HERE.type, ranks)
        storages = Storages()
        with storages.counting():
            wan = read(unread(shape, Path(folder)), POCKET_CARD, HERE, mesh=mesh, dtype=torch.bfloat16)
            _as_on_an_accelerator(wan.vae)
        with torch.inference_mode():
            return phases(wan, work, plan, layout, storages)


class Meter(Protocol):
    """A count of the memory that is held, for the length of a block."""

    def counting(self) -> AbstractContextManager[object]:
        """Count what is made and freed inside the block."""
        ...

    def forget_peak(self) -> int:
        """Return the peak in bytes, and set it to what is held now."""
        ...

    @property
    def peak(self) -> int:
        """The most that was held since `forget_peak`, in bytes."""
        ...


def phases(wan: Wan, work: Work, plan: Plan, layout: Layout, storages: Meter) -> Peaks:
    """Run the phases of a job one after the other, as the worker does, and return the peaks that the meter read."""
    with storages.counting():
        storages.forget_peak()
        set_sharded(wan, dit_sharded=plan.dit_fsdp, t5_sharded=plan.t5_fsdp)
        weights = storages.forget_peak()
        prompt, negative = encode_text(wan, "a prompt"), encode_text(wan, "another") if work.guided else None
        text = storages.forget_peak()
        image = Image.new("RGB", (work.width, work.height))
        seen = encode_image(wan.image_processor, wan.image_encoder, image).to(wan.transformer.dtype)
        first_frame = codec.first_frame_condition(wan.vae, image, work.num_frames, layout.rows)
        given = Conditions(prompt, negative, seen, first_frame)
        encode = storages.forget_peak()
        latents = torch.randn(1, wan.vae.config["z_dim"], *first_frame.shape[2:], device=wan.device)
    timestep = torch.tensor(TIMESTEP, device=wan.device)
    cache = AttentionCache(EVERY_STEP_STORES if work.cached else None)
    with shared_tokens(wan.transformer, layout.tokens), cache.installed(wan.transformer), storages.counting():
        for step in range(CACHED_STEPS if work.cached else 1):
            predict_noise(wan.transformer, latents, timestep, given, GUIDANCE, step=step, cache=cache, cfg=layout.cfg)
    denoise = storages.forget_peak()
    with storages.counting():
        storages.forget_peak()
        codec.decode(wan.vae, latents, layout.rows)
    return Peaks(weights=weights, text=text, encode=encode, denoise=denoise, decode=storages.peak)


def unread(shape: ModelShape, folder: Path) -> Checkpoint:
    """Return a checkpoint of this shape whose tensors come from no file; the tokenizer is written to `folder`."""
    pocket = builders(PocketShape(image_side=shape.image_side))
    pocket["tokenizer"]().save_pretrained(folder)
    return Checkpoint(
        transformer=_component(lambda: new_components.transformer(shape)),
        vae=_component(lambda: new_components.vae(shape)),
        text_encoder=_component(lambda: new_components.text_encoder(shape)),
        image_encoder=_component(lambda: new_components.image_encoder(shape)),
        tokenizer=folder,
        image_processor=pocket["image_processor"],
        configs={},
    )


@contextmanager
def _group(ranks: int) -> Generator[None]:
    dist.init_process_group(backend="fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _component(build: Callable[[], Any]) -> Component:
    """Return a component whose tensors are made on the device when they are read."""

    def build_outside() -> Any:
        with unset_fake_temporarily():
            return build()

    component = Component(Path("unread"), build_outside, {})
    shapes = {name: tuple(like.shape) for name, like in component.build_empty().named_parameters()}
    return replace(component, stored={name: _stored(shape) for name, shape in shapes.items()})


def _stored(shape: tuple[int, ...]) -> Stored:
    return Stored(
        Path("unread"), shape, torch.bfloat16, lambda first, last: torch.empty(last - first, dtype=torch.bfloat16)
    )


def _as_on_an_accelerator(vae: AutoencoderKLWan) -> None:
    """Undo `inference.wan.vae.cpu.speed_up`."""
    for module in vae.modules():
        module.__dict__.pop("forward", None)
        module.__dict__.pop("_conv_forward", None)
