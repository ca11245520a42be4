"""Runs the Wan VAE over a whole clip at once, for training; diffusers' own code runs four frames at a time.

The results are equal (a test compares them). Without diffusers' frame cache, gradients flow between frames.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanResample
from torch import nn
from torch.nn import functional


@contextmanager
def whole_clips(vae: AutoencoderKLWan) -> Generator[None]:
    """Allow `encode` and `decode` of this module with `vae` within the block; afterwards the VAE is as before."""
    changed: list[nn.Module] = []
    for module in vae.modules():
        forward = FORWARDS.get(type(module))
        if forward is not None:
            module.forward = partial(forward, module)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def encode(vae: AutoencoderKLWan, video_BCTHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and log variance of the latents, each B × 16 × (T-1)/4+1 × H/8 × W/8, not normalised.

    `video_BCTHW` is in [-1, 1], and T is 4n+1. The VAE must be within `whole_clips`.
    """
    mean, log_variance = vae.quant_conv(vae.encoder(video_BCTHW)).chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


def decode(vae: AutoencoderKLWan, latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return the video of latents that are not normalised. The VAE must be within `whole_clips`.

    The video is not clamped to [-1, 1], because a clamp has no gradient.
    """
    return vae.decoder(vae.post_quant_conv(latents_BCTHW))


def _resample(
    module: WanResample, clip_BCTHW: torch.Tensor, _cache: object = None, _index: object = None
) -> torch.Tensor:
    """Return the clip resampled in space and time, as the module's mode says.

    The first frame stays one frame; the time convolution applies to the later ones.
    """
    if module.mode == "upsample3d" and clip_BCTHW.shape[2] > 1:
        later = module.time_conv(clip_BCTHW[:, :, 1:])
        later = later.unflatten(1, (2, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        clip_BCTHW = torch.cat([clip_BCTHW[:, :, :1], later], dim=2)
    frames = module.resample(clip_BCTHW.transpose(1, 2).flatten(0, 1))
    clip_BCTHW = frames.unflatten(0, (clip_BCTHW.shape[0], -1)).transpose(1, 2)
    if module.mode == "downsample3d" and clip_BCTHW.shape[2] > 1:
        clip_BCTHW = torch.cat([clip_BCTHW[:, :, :1], module.time_conv(clip_BCTHW)], dim=2)
    return clip_BCTHW


def _convolve(module: WanCausalConv3d, clip_BCTHW: torch.Tensor, _cache: object = None) -> torch.Tensor:
    """Return the causal convolution of the clip, B × C × T × H × W; earlier frames count as zeros."""
    padding: Any = module._padding  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if clip_BCTHW.shape[2] > 1 or module.stride[0] > 1 or padding[4] == 0:
        return nn.Conv3d.forward(module, functional.pad(clip_BCTHW, padding))
    # For a single frame only the last tap in time sees anything: a 2D convolution is equal and twice as fast.
    weight = cast(nn.Parameter, module.weight)[:, :, -1]
    flat = clip_BCTHW[:, :, 0].contiguous(memory_format=torch.channels_last)
    return functional.conv2d(flat, weight, module.bias, padding=padding[0])[:, :, None]


FORWARDS: dict[type, Callable[..., torch.Tensor]] = {WanResample: _resample, WanCausalConv3d: _convolve}
