"""Speeds the VAE up on a CPU; results are equal except for rounding. Called by `load`.

Convolutions always run in oneDNN. torch chooses by batch, channels, frames and rows, not by columns, so it takes a low
and wide tensor, such as one rank's band of rows, for a small one and unrolls it to 27 numbers per value: up to eight
times slower, with more memory than all the rest. Source of the rule: `ConvParams::use_mkldnn` in torch's
`aten/src/ATen/native/Convolution.cpp`.

Norms over the channels are computed as sums of squares: `vector_norm` over any dim but the last is seven times slower.
"""

from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanRMS_norm

NORM_MIN = 1e-12  # torch.nn.functional.normalize


def speed_up(vae: AutoencoderKLWan) -> None:
    """Replace slow convolutions and norms of an fp32 VAE, in place and for good; the parameters stay the same."""
    for module in vae.modules():
        match module:
            case WanCausalConv3d() if torch.backends.mkldnn.is_available():
                module._conv_forward = partial(_onednn, module)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            case WanRMS_norm() if module.channel_first:
                module.forward = partial(_normalise, module)
            case _:
                continue


def convolve(module: WanCausalConv3d, padded_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return the convolution of an input that is already padded in time, height and width."""
    return module._conv_forward(padded_BCTHW, module.weight, module.bias)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _onednn(module: WanCausalConv3d, input: torch.Tensor, weight: torch.Tensor, bias: Any) -> torch.Tensor:  # noqa: A002  # the name in torch's method
    """Return the convolution of an already padded input, B × C × T × H × W, by oneDNN."""
    return torch.ops.aten.mkldnn_convolution(
        input, weight, bias, module.padding, module.stride, module.dilation, module.groups
    )


def _normalise(module: WanRMS_norm, x: torch.Tensor) -> torch.Tensor:
    """Return `x`, whose channels are its second dimension, normalised over the channels as the module does."""
    norm = x.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(NORM_MIN)
    return x / norm * module.scale * module.gamma + module.bias
