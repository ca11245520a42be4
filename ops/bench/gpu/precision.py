"""Sets bf16 and 8-bit matrices against fp32 on the same card: `python -m ops.bench.gpu.precision card|dry`.

With the trained weights of the pocket model: the guided prediction of one step from equal latents, and a whole video.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from msgspec.structs import replace
from PIL import ImageOps

from contracts.job import Job, parse_size
from inference.pocket import POCKET_FOLDER
from inference.ranks import device
from inference.wan.attention_cache import AttentionCache
from inference.wan.generate import encode, generate, noise_like
from inference.wan.guidance import Conditions, predict_noise
from inference.wan.kernels import set_attention_backend
from inference.wan.load import Wan, load
from ops.bench.gpu.finding import Fact, reason, write
from ops.bench.report.likeness import likeness
from ops.bench.report.row import Row, Series
from ops.local.sample_image import landscape

PART = "precision"
JOB = Job(prompt="the camera pans left", seed=1, num_frames=25, infer_steps=40, guidance_scale=1.5)
SIZE, DRY_SIZE = "256*144", "64*48"
DRY = {"num_frames": 5, "infer_steps": 2}
TIMESTEPS = (999.0, 500.0, 57.0)
DRY_TIMESTEPS = (999.0,)
GUIDANCE = 5.0
"""The scale of Wan2.1's own command, more than the pocket's video has: it multiplies the error."""

Open = Callable[[Path, torch.device], Wan]
VARIANTS: dict[str, Open] = {
    "bf16": partial(load, dtype=torch.bfloat16),
    "bf16, fp8_linear": partial(load, dtype=torch.bfloat16, fp8_linear=True),
}


class Side:
    """The model in one precision on one device. Lives for the comparison."""

    def __init__(self, open_model: Open, here: torch.device, size: str) -> None:
        self._wan = open_model(POCKET_FOLDER, here)
        set_attention_backend(self._wan, None)
        self._image = ImageOps.fit(landscape(), parse_size(size))

    def conditions(self, job: Job) -> Conditions:
        """Return the encoded prompt and picture."""
        with torch.inference_mode():
            return encode(self._wan, job, self._image)

    def predicted(self, conditions: Conditions, job: Job, timestep: float) -> torch.Tensor:
        """Return the guided prediction from the job's first noise, in fp32, of conditions of any precision."""
        dtype, here = self._wan.transformer.dtype, self._wan.device
        negative = conditions.negative_BLD
        own = Conditions(
            conditions.prompt_BLD.to(dtype),
            None if negative is None else negative.to(dtype),
            conditions.image_BLD.to(dtype),
            conditions.first_frame_BCTHW,
        )
        latents = noise_like(own.first_frame_BCTHW, job.seed, channels=self._wan.vae.config["z_dim"])
        at = torch.tensor(timestep, device=here)
        with torch.inference_mode():
            cache = AttentionCache(None)
            return predict_noise(self._wan.transformer, latents, at, own, GUIDANCE, step=0, cache=cache)

    def video(self, job: Job) -> torch.Tensor:
        """Return the job's decoded video in main memory."""
        return generate(self._wan, job, self._image, lambda _stage, _step: None).float().cpu()


def main(mode: str) -> None:
    """Write a row for each timestep and one for the video, of each precision against fp32."""
    dry = mode == "dry"
    here = device.choose(0)
    job, size = (replace(JOB, **DRY), DRY_SIZE) if dry else (JOB, SIZE)
    exact = Side(partial(load, dtype=torch.float32), here, size)
    given = exact.conditions(job)
    wanted = {timestep: exact.predicted(given, job, timestep) for timestep in (DRY_TIMESTEPS if dry else TIMESTEPS)}
    video = exact.video(job)
    for name, open_model in VARIANTS.items():
        try:
            side = Side(open_model, here, size)
            for timestep, prediction in wanted.items():
                difference = side.predicted(given, job, timestep) - prediction
                apart = (difference.square().sum() / prediction.square().sum()).sqrt().item()
                what = f"guided prediction at t = {timestep:g}, apart from fp32"
                write(Row(part=PART, what=what, unit="", over=Series(name, [apart])))
            found = likeness(side.video(job), video)
        except Exception as error:  # noqa: BLE001  # what one precision raises is a finding, and the next is tried
            write(Fact(part=PART, what=name, found=reason(error), good=False))
            continue
        what = f"video of {job.infer_steps} steps against fp32"
        write(Row(part=PART, what=what, unit="dB", over=Series(f"{name}, PSNR", [found.psnr_db])))
        write(Row(part=PART, what=what, unit="", over=Series(f"{name}, SSIM", [found.ssim])))


if __name__ == "__main__":
    main(sys.argv[1])
