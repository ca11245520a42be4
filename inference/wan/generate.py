"""Generates a job's video from its image, read top to bottom: encode → noise → denoise → decode.

A pure function of weights, job and image: every rank calls `generate`, and rank 0 gets the same video by whatever
layout the ranks share the job. Called by the worker of every rank.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from contracts.job import Job, shift_of
from contracts.stage_times import Stage
from inference.wan.attention_cache import AttentionCache, cache_rule_for
from inference.wan.counting import Report, ignore_share, part_of
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT, encode_image, encode_text
from inference.wan.guidance import Conditions, predict_noise
from inference.wan.load import Wan
from inference.wan.parallel.mesh import ALONE, Layout
from inference.wan.parallel.ulysses import shared_tokens
from inference.wan.snapshot import DenoisingSnapshot
from inference.wan.solvers import Scheduler, advance, clean_part, restore_solver, solver, solver_memory, timesteps
from inference.wan.vae import codec
from inference.wan.visiting import on_device

T = TypeVar("T", int, float)

Boundary = Callable[[Stage, int], None]
ReportPart = Callable[[Stage, float], None]
"""A function that is called within `encode` and `decode` with the share (0 to 1) that this rank has done of the stage.
It is no place to leave the job: the ranks call it at different times."""
OfferSnapshot = Callable[[Callable[[], DenoisingSnapshot]], None]
Picture = np.ndarray
"""Height × width × 3, uint8."""
OfferPreview = Callable[[int, Callable[[], Picture | None]], None]
"""A function that is called after every step, with the number of steps done and `make_preview`. That returns the middle
frame of the video that is expected then, a pixel for 8 × 8, or None if the model has no `latent_rgb`."""


TEXT_SHARE, PICTURE_SHARE = 0.1, 0.05
"""About what the texts and the picture take of the stage `encode`; the VAE takes the rest."""


def ignore_snapshot(_make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
    """Ignore the offered snapshot; the default of `generate`."""


def ignore_preview(_step: int, _make_preview: Callable[[], Picture | None]) -> None:
    """Ignore the offered preview; the default of `generate`."""


def ignore_part(_stage: Stage, _done: float) -> None:
    """Ignore that a part of a stage is done; the default of `generate`."""


def generate(
    wan: Wan,
    job: Job,
    image: Image.Image,
    boundary: Boundary,
    layout: Layout = ALONE,
    *,
    snapshot: DenoisingSnapshot | None = None,
    offer_snapshot: OfferSnapshot = ignore_snapshot,
    offer_preview: OfferPreview = ignore_preview,
    report_part: ReportPart = ignore_part,
) -> torch.Tensor:
    """Return the job's video: 3 × frames × height × width in [-1, 1], on the model's device.

    `image` has exactly the video's size. `boundary(stage, step)` is called before each stage with step 0, and after
    every denoising step with the number of steps done; an exception from it ends the job and leaves the model ready for
    the next. A collective: all ranks that share the job by `layout` call this. With bands of rows, ranks other than the
    first of them get their own rows of the video alone, since only rank 0 writes it.

    `offer_snapshot(make_snapshot)` is called before the boundary of every step from which the job can be resumed. To
    resume, pass as `snapshot` the value that `make_snapshot` returned; the stage `encode` is then left out.

    `offer_preview` and `report_part` are called as their types say.
    """
    boundary, report_part = _synchronised(boundary, wan.device), _synchronised(report_part, wan.device)
    with torch.inference_mode():
        if snapshot is None:
            boundary("encode", 0)
            conditions = encode(wan, job, image, layout, partial(report_part, "encode"))
        else:
            snapshot = snapshot.to(wan.device, wan.transformer.dtype)
            conditions = snapshot.conditions
        boundary("denoise", 0)
        latents_BCTHW = denoise(
            wan, job, conditions, boundary, layout,
            snapshot=snapshot, offer_snapshot=offer_snapshot, offer_preview=offer_preview,
        )  # fmt: skip
        boundary("decode", 0)
        with on_device(wan.vae, wan.device):
            return codec.decode(wan.vae, latents_BCTHW, layout.rows, partial(report_part, "decode"))


def encode(wan: Wan, job: Job, image: Image.Image, layout: Layout = ALONE, report: Report = ignore_share) -> Conditions:
    """Return the inputs of the transformer that stay the same through all steps; `image` has exactly the video's size.

    A negative prompt of `""` is encoded as an empty text; None means the model's own negative prompt. A collective of
    the ranks of `layout`, and of all ranks if the text encoder is sharded. `report` is called with the share (0 to 1)
    that this rank has done.
    """
    negative = DEFAULT_NEGATIVE_PROMPT if job.negative_prompt is None else job.negative_prompt
    prompt_BLD = encode_text(wan, job.prompt, part_of(report, 0.0, TEXT_SHARE / 2))
    negative_BLD = encode_text(wan, negative, part_of(report, TEXT_SHARE / 2, TEXT_SHARE)) if job.guided else None
    with on_device(wan.image_encoder, wan.device):
        image_BLD = encode_image(wan.image_processor, wan.image_encoder, image).to(wan.transformer.dtype)
    report(TEXT_SHARE + PICTURE_SHARE)
    frames_done = part_of(report, TEXT_SHARE + PICTURE_SHARE, 1.0)
    with on_device(wan.vae, wan.device):
        first_frame_BCTHW = codec.first_frame_condition(wan.vae, image, job.num_frames, layout.rows, frames_done)
    return Conditions(prompt_BLD, negative_BLD, image_BLD, first_frame_BCTHW)


def denoise(
    wan: Wan,
    job: Job,
    conditions: Conditions,
    boundary: Boundary,
    layout: Layout = ALONE,
    *,
    snapshot: DenoisingSnapshot | None = None,
    offer_snapshot: OfferSnapshot = ignore_snapshot,
    offer_preview: OfferPreview = ignore_preview,
) -> torch.Tensor:
    """Return the job's latents after all steps: 1 × 16 × T × H/8 × W/8 in fp32.

    `boundary` and both offers are called as `generate` says, after each step; `snapshot` is on the model's device.
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
            preview = partial(_preview, wan, scheduler, step, latents_BCTHW, noise_BCTHW)
            latents_BCTHW = advance(scheduler, noise_BCTHW, timestep, latents_BCTHW)
            offer_preview(step + 1, preview)
            if rule is None or not rule.reuses(step + 1):
                offer_snapshot(partial(_snapshot, step + 1, latents_BCTHW, scheduler, conditions))
            boundary("denoise", step + 1)
    return latents_BCTHW


def _preview(
    wan: Wan, scheduler: Scheduler, step: int, latents_BCTHW: torch.Tensor, noise_BCTHW: torch.Tensor
) -> Picture | None:
    """Return the middle frame of the video that the noise predicted at a step means; None without `latent_rgb`."""
    if wan.latent_rgb is None:
        return None
    middle = latents_BCTHW.shape[2] // 2
    return wan.latent_rgb.picture(clean_part(scheduler, noise_BCTHW[0, :, middle], step, latents_BCTHW[0, :, middle]))


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


def _synchronised(report: Callable[[Stage, T], None], device: torch.device) -> Callable[[Stage, T], None]:
    """Return `report`, preceded by a wait for the device, whose kernels run behind the Python that starts them."""
    if device.type == "cpu":
        return report

    def when_reached(stage: Stage, at: T) -> None:
        torch.accelerator.synchronize(device)
        report(stage, at)

    return when_reached
