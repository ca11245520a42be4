"""From a job and its image to a video, read top to bottom: encode → noise → denoise → decode.

A pure function of weights, job and image, the same on every rank, however they share it: it knows no rank, no broker
and no clock.
"""

from collections.abc import Callable

import torch
from PIL import Image

from contracts.events import Stage
from contracts.job import Job
from inference.wan import vae
from inference.wan.attention_cache import AttentionCache, rule_for
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT, encode_image, encode_text
from inference.wan.guidance import Conditioning, predict_noise
from inference.wan.load import Wan
from inference.wan.mesh import ALONE, Layout
from inference.wan.parallelize import shared_tokens
from inference.wan.solvers import advance, solver, timesteps

Boundary = Callable[[Stage, int], None]


def generate(wan: Wan, job: Job, image: Image.Image, boundary: Boundary, layout: Layout = ALONE) -> torch.Tensor:
    """The job's video: 3 × frames × height × width in [-1, 1], on the model's device.

    `image` has exactly the video's size. `boundary(stage, step)` is called before each stage with step 0, and after
    every denoising step with the number of steps done; what it raises ends the job, and the next one starts clean.
    Ranks that share the job by `layout` all call this, and all get the video.
    """
    boundary = _in_step(boundary, wan.device)
    with torch.inference_mode():
        boundary("encode", 0)
        given = encode(wan, job, image, layout)
        boundary("denoise", 0)
        latents_BCTHW = denoise(wan, job, given, boundary, layout)
        boundary("decode", 0)
        return vae.decode(wan.vae, latents_BCTHW, layout.rows)


def encode(wan: Wan, job: Job, image: Image.Image, layout: Layout = ALONE) -> Conditioning:
    """Everything that stays the same through all steps. `""` as negative prompt means none, None the model's own."""
    negative = DEFAULT_NEGATIVE_PROMPT if job.negative_prompt is None else job.negative_prompt
    return Conditioning(
        prompt_BLD=encode_text(wan, job.prompt),
        negative_BLD=encode_text(wan, negative) if job.guided else None,
        image_BLD=encode_image(wan, image),
        first_frame_BCTHW=vae.first_frame_condition(wan.vae, image, job.num_frames, layout.rows),
    )


def denoise(wan: Wan, job: Job, given: Conditioning, boundary: Boundary, layout: Layout = ALONE) -> torch.Tensor:
    """The job's latents: 1 × 16 × T × H/8 × W/8 in fp32."""
    latents_BCTHW = noise_like(given.first_frame_BCTHW, job.seed, channels=wan.vae.config["z_dim"])
    scheduler = solver(job.sample_solver, job.infer_steps, job.sample_shift, wan.device)
    cache = AttentionCache(rule_for(job))
    with shared_tokens(wan.transformer, layout.tokens), cache.over(wan.transformer):
        for step, timestep in enumerate(timesteps(scheduler)):
            noise_BCTHW = predict_noise(
                wan.transformer, latents_BCTHW, timestep, given, job.guidance_scale,
                step=step, cache=cache, cfg=layout.cfg,
            )  # fmt: skip
            latents_BCTHW = advance(scheduler, noise_BCTHW, timestep, latents_BCTHW)
            boundary("denoise", step + 1)
    return latents_BCTHW


def noise_like(condition_BCTHW: torch.Tensor, seed: int, *, channels: int) -> torch.Tensor:
    """Noise of the condition's shape. Drawn on the CPU: there a seed means the same for every device and rank."""
    shape = (condition_BCTHW.shape[0], channels, *condition_BCTHW.shape[2:])
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).to(condition_BCTHW.device)


def _in_step(boundary: Boundary, device: torch.device) -> Boundary:
    """`boundary`, but called when the device has got there: it runs behind the Python that feeds it."""
    if device.type == "cpu":
        return boundary

    def when_reached(stage: Stage, step: int) -> None:
        torch.accelerator.synchronize(device)
        boundary(stage, step)

    return when_reached
