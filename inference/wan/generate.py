"""Generates a job's video from its image, read top to bottom: encode → noise → denoise → decode.

A pure function of weights, job and image: every rank calls `generate`, and rank 0 gets the same video by whatever
layout the ranks share the job. Called by the worker of every rank.
"""

from collections.abc import Callable
from functools import partial

import torch
from PIL import Image

from contracts.events import Stage
from contracts.job import Job, shift_of
from inference.wan.attention_cache import AttentionCache, cache_rule_for
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT, encode_image, encode_text
from inference.wan.guidance import Conditions, predict_noise
from inference.wan.load import Wan
from inference.wan.parallel.mesh import ALONE, Layout
from inference.wan.parallel.ulysses import shared_tokens
from inference.wan.snapshot import DenoisingSnapshot
from inference.wan.solvers import Scheduler, advance, restore_solver, solver, solver_memory, timesteps
from inference.wan.vae import codec
from inference.wan.visiting import visiting

Boundary = Callable[[Stage, int], None]
OfferSnapshot = Callable[[Callable[[], DenoisingSnapshot]], None]


def decline(_make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
    """Ignore the offered snapshot; the default of `generate`."""


def generate(
    wan: Wan,
    job: Job,
    image: Image.Image,
    boundary: Boundary,
    layout: Layout = ALONE,
    *,
    snapshot: DenoisingSnapshot | None = None,
    offer_snapshot: OfferSnapshot = decline,
) -> torch.Tensor:
    """Return the job's video: 3 × frames × height × width in [-1, 1], on the model's device.

    `image` has exactly the video's size. `boundary(stage, step)` is called before each stage with step 0, and after
    every denoising step with the number of steps done; an exception from it ends the job and leaves the model ready for
    the next. A collective: all ranks that share the job by `layout` call this. With bands of rows, ranks other than the
    first of them get their own rows of the video alone, since only rank 0 writes it.

    `offer_snapshot(make_snapshot)` is called before the boundary of every step from which the job can be resumed. To
    resume, pass as `snapshot` the value that `make_snapshot` returned; the stage `encode` is then left out.
    """
    boundary = _synchronised(boundary, wan.device)
    with torch.inference_mode():
        if snapshot is None:
            boundary("encode", 0)
            conditions = encode(wan, job, image, layout)
        else:
            snapshot = snapshot.to(wan.device, wan.transformer.dtype)
            conditions = snapshot.conditions
        boundary("denoise", 0)
        latents_BCTHW = denoise(
            wan, job, conditions, boundary, layout, snapshot=snapshot, offer_snapshot=offer_snapshot
        )
        boundary("decode", 0)
        with visiting(wan.vae, wan.device):
            return codec.decode(wan.vae, latents_BCTHW, layout.rows)


def encode(wan: Wan, job: Job, image: Image.Image, layout: Layout = ALONE) -> Conditions:
    """Return the inputs of the transformer that stay the same through all steps; `image` has exactly the video's size.

    A negative prompt of `""` is encoded as an empty text; None means the model's own negative prompt. A collective of
    the ranks of `layout`, and of all ranks if the text encoder is sharded.
    """
    negative = DEFAULT_NEGATIVE_PROMPT if job.negative_prompt is None else job.negative_prompt
    prompt_BLD = encode_text(wan, job.prompt)
    negative_BLD = encode_text(wan, negative) if job.guided else None
    with visiting(wan.image_encoder, wan.device):
        image_BLD = encode_image(wan.image_processor, wan.image_encoder, image).to(wan.transformer.dtype)
    with visiting(wan.vae, wan.device):
        first_frame_BCTHW = codec.first_frame_condition(wan.vae, image, job.num_frames, layout.rows)
    return Conditions(prompt_BLD, negative_BLD, image_BLD, first_frame_BCTHW)


def denoise(
    wan: Wan,
    job: Job,
    conditions: Conditions,
    boundary: Boundary,
    layout: Layout = ALONE,
    *,
    snapshot: DenoisingSnapshot | None = None,
    offer_snapshot: OfferSnapshot = decline,
) -> torch.Tensor:
    """Return the job's latents after all steps: 1 × 16 × T × H/8 × W/8 in fp32.

    `boundary` and `offer_snapshot` are called as `generate` says, after each step; `snapshot` is on the model's device.
    A collective of the ranks of `layout`, and of all ranks if the transformer is sharded.
    """
    shift = shift_of(job, job.image_size or wan.card.default_size, wan.card.sample_shift)
    scheduler = solver(job.sample_solver, job.infer_steps, shift, wan.device)
    if snapshot is None:
        done = 0
        latents_BCTHW = noise_like(conditions.first_frame_BCTHW, job.seed, channels=wan.vae.config["z_dim"])
    else:
        done, latents_BCTHW = snapshot.step, snapshot.latents_BCTHW
        restore_solver(scheduler, snapshot.memory, done)
    rule = cache_rule_for(job)
    cache = AttentionCache(rule)
    with shared_tokens(wan.transformer, layout.tokens), cache.installed(wan.transformer):
        for step, timestep in enumerate(timesteps(scheduler)[done:], start=done):
            noise_BCTHW = predict_noise(
                wan.transformer, latents_BCTHW, timestep, conditions, job.guidance_scale,
                step=step, cache=cache, cfg=layout.cfg,
            )  # fmt: skip
            latents_BCTHW = advance(scheduler, noise_BCTHW, timestep, latents_BCTHW)
            if rule is None or not rule.reuses(step + 1):
                offer_snapshot(partial(_snapshot, step + 1, latents_BCTHW, scheduler, conditions))
            boundary("denoise", step + 1)
    return latents_BCTHW


def _snapshot(
    step: int, latents_BCTHW: torch.Tensor, scheduler: Scheduler, conditions: Conditions
) -> DenoisingSnapshot:
    """Return the snapshot of the scheduler's state now; it shares the tensors, which the next step replaces."""
    return DenoisingSnapshot(step, latents_BCTHW, solver_memory(scheduler), conditions)


def noise_like(condition_BCTHW: torch.Tensor, seed: int, *, channels: int) -> torch.Tensor:
    """Return noise of the condition's shape with `channels` channels, on the condition's device.

    Drawn on the CPU, where a seed gives the same numbers for every device and rank.
    """
    shape = (condition_BCTHW.shape[0], channels, *condition_BCTHW.shape[2:])
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).to(condition_BCTHW.device)


def _synchronised(boundary: Boundary, device: torch.device) -> Boundary:
    """Return `boundary`, preceded by a wait for the device, whose kernels run behind the Python that starts them."""
    if device.type == "cpu":
        return boundary

    def when_reached(stage: Stage, step: int) -> None:
        torch.accelerator.synchronize(device)
        boundary(stage, step)

    return when_reached
