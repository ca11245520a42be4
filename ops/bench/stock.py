"""Runs diffusers' own `WanImageToVideoPipeline` on our weights, and its own way to an mp4, as the baseline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers.utils.export_utils import export_to_video
from diffusers.video_processor import VideoProcessor
from PIL import Image

from contracts.job import FPS, Job
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT
from inference.wan.load import Wan
from inference.wan.vae.codec import SPATIAL_STRIDE


def stock_pipeline(wan: Wan, scheduler: Any) -> Any:
    """Return diffusers' `WanImageToVideoPipeline` over these weights, without a progress bar."""
    components: dict[str, Any] = {
        "tokenizer": wan.tokenizer,
        "text_encoder": wan.text_encoder,
        "image_processor": wan.image_processor,
        "image_encoder": wan.image_encoder,
        "vae": wan.vae,
        "transformer": wan.transformer,
        "scheduler": scheduler,
    }
    pipeline: Any = WanImageToVideoPipeline(**components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Stock:
    """The pipeline with UniPC, the solver that Wan2.1 uses by default."""

    def __init__(self, wan: Wan, shift: float) -> None:
        scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
        self._pipeline = stock_pipeline(wan, scheduler)
        # Post-processing of the decoded video is measured separately, by the part `mp4`.
        self._pipeline.video_processor.postprocess_video = _as_decoded

    def run(
        self, job: Job, image: Image.Image, on_step: Callable[[int], None], upto: Literal["latent", "np"] = "np"
    ) -> torch.Tensor:
        """Return the job's decoded video, or its latents if `upto` is `latent`; call `on_step(n)` after n steps.

        The video has the size of the image.
        """

        def after_step(_pipeline: object, step: int, _timestep: object, kwargs: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1)
            return kwargs

        return self._pipeline(
            image=image,
            prompt=job.prompt,
            negative_prompt=DEFAULT_NEGATIVE_PROMPT,
            width=image.width,
            height=image.height,
            num_frames=job.num_frames,
            num_inference_steps=job.infer_steps,
            guidance_scale=job.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(job.seed),
            output_type=upto,
            callback_on_step_end=after_step,
            return_dict=False,
        )[0]


def _as_decoded(video_BCTHW: torch.Tensor, **_: object) -> torch.Tensor:
    """Return the video unchanged: takes the place of the pipeline's post-processing."""
    return video_BCTHW


def to_mp4(video_BCTHW: torch.Tensor, path: Path) -> None:
    """Write the video, whose batch is 1, to a file as the documentation of diffusers does it."""
    processor: Any = VideoProcessor(vae_scale_factor=SPATIAL_STRIDE)  # its annotations are too narrow
    export_to_video(list(processor.postprocess_video(video_BCTHW, output_type="np")[0]), str(path), fps=FPS)
