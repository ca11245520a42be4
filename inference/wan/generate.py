"""From a job and its image to a video, read top to bottom: encode → noise → denoise → decode.

A pure function of weights, job and image, the same on every rank: it knows no rank, no broker and no clock.
"""

from collections.abc import Callable

import torch
from PIL import Image

from contracts.events import Stage
from contracts.job import Job
from inference.wan import vae
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT, encode_image, encode_text
from inference.wan.guidance import Conditioning, is_guided, predict_noise
from inference.wan.load import Wan
from inference.wan.solvers import advance, solver, timesteps

Boundary = Callable[[Stage, int], None]


def generate(wan: Wan, job: Job, image: Image.Image, boundary: Boundary) -> torch.Tensor:
    """The job's video: 3 × frames × height × width in [-1, 1], on the model's device.

    `image` has exactly the video's size. `boundary(stage, step)` is called before each stage with step 0, and after
    every denoising step with the number of steps done; what it raises ends the job, and the next one starts clean.
    """
    boundary = _in_step(boundary, wan.device)
    with torch.inference_mode():
        boundary("encode", 0)
        given = encode(wan, job, image)
        boundary("denoise", 0)
        latents_BCTHW = denoise(wan, job, given, boundary)
        boundary("decode", 0)
        return vae.decode(wan.vae, latents_BCTHW)


def encode(wan: Wan, job: Job, image: Image.Image) -> Conditioning:
    """Everything that stays the same through all steps. `""` as negative prompt means none, None the model's own."""
    negative = DEFAULT_NEGATIVE_PROMPT if job.negative_prompt is None else job.negative_prompt
    return Conditioning(
        prompt_BLD=encode_text(wan, job.prompt),
        negative_BLD=encode_text(wan, negative) if is_guided(job.guidance_scale) else None,
        image_BLD=encode_image(wan, image),
        first_frame_BCTHW=vae.first_frame_condition(wan.vae, image, job.num_frames),
    )


def denoise(wan: Wan, job: Job, given: Conditioning, boundary: Boundary) -> torch.Tensor:
    """The job's latents: 1 × 16 × T × H/8 × W/8 in fp32."""
    latents_BCTHW = noise_like(given.first_frame_BCTHW, job.seed, channels=wan.vae.config["z_dim"])
    scheduler = solver(job.sample_solver, job.infer_steps, job.sample_shift, wan.device)
    try:
        for step, timestep in enumerate(timesteps(scheduler), start=1):
            noise_BCTHW = predict_noise(wan.transformer, latents_BCTHW, timestep, given, job.guidance_scale)
            latents_BCTHW = advance(scheduler, noise_BCTHW, timestep, latents_BCTHW)
            boundary("denoise", step)
    finally:
        # What hooks of the transformer have kept of this job; there is no public way.
        wan.transformer._reset_stateful_cache()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
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
