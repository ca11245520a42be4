"""A Wan2.1 of a few hundred thousand parameters, jobs and pictures for it. Imports torch: seconds."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image

from contracts.job import Job
from inference.pocket.build import PocketShape
from inference.wan.checkpoint.model_card import ModelCard
from inference.wan.generate import Boundary, denoise, encode
from inference.wan.load import Wan
from inference.wan.parallel.mesh import ALONE, Layout
from inference.wan.snapshot import DenoisingSnapshot

TINY = PocketShape(
    card=ModelCard(name="tiny", sizes=["64*48", "48*48"], default_size="64*48", large_sizes=["128*96"]),
    vae_dim=4,
    vae_dim_mult=(1, 2, 2, 2),
    layers=2,
    heads=4,
    head_dim=12,
    text_dim=32,
    image_dim=16,
    image_side=28,
)

JOB = Job(prompt="a cat walks in the rain", num_frames=9, seed=7, infer_steps=4)
"""Shorter than a client may ask for."""


class Broken(Exception):
    """Raised by a test on the way through a model, or between two steps."""


def break_off(*_: object) -> None:
    """End a pass: a hook for a module."""
    raise Broken


def job(**changes: Any) -> Job:
    return msgspec.structs.replace(JOB, **changes)


def image(width: int = 64, height: int = 48, *, seed: int = 0) -> Image.Image:
    """Return a picture of soft blotches of colour, the same for the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def go_on(_stage: str, _step: int) -> None:
    """The boundary of a job that nobody watches."""


def latents(
    wan: Wan, job: Job, picture: Image.Image, boundary: Boundary = go_on, layout: Layout = ALONE
) -> torch.Tensor:
    """Return the latents that `generate` would decode."""
    with torch.inference_mode():
        return denoise(wan, job, encode(wan, job, picture, layout), boundary, layout)


def halves(wan: Wan, job: Job, picture: Image.Image) -> tuple[torch.Tensor, list[DenoisingSnapshot]]:
    """Return the job's latents, and every snapshot that was offered on the way."""
    offered: list[DenoisingSnapshot] = []

    def offer_snapshot(make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        offered.append(make_snapshot())

    with torch.inference_mode():
        return denoise(wan, job, encode(wan, job, picture), go_on, offer_snapshot=offer_snapshot), offered


def calls(module: torch.nn.Module, run: Callable[[], object]) -> int:
    """Return how often `run` passes through the module."""
    count = 0

    def one_more(*_: object) -> None:
        nonlocal count
        count += 1

    handle = module.register_forward_hook(one_more)
    run()
    handle.remove()
    return count
