"""What torch computes slowly in the VAE on a CPU, computed otherwise; equal but for rounding. Knows no ranks.

Convolutions are oneDNN's, whatever the shape. torch goes by batch, channels, frames and rows, not by columns, and takes
a low and wide tensor for a small one: it then unrolls it, 27 numbers for each, which takes up to eight times as long
and more memory than all else. One rank's band of rows is just such a tensor. Source of the rule:
`ConvParams::use_mkldnn` in torch's `aten/src/ATen/native/Convolution.cpp`.

Norms over the channels are sums of squares: `vector_norm` over any dim but the last takes seven times as long.
"""

from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanRMS_norm

NORM_MIN = 1e-12  # torch.nn.functional.normalize


def speed_up(vae: AutoencoderKLWan) -> None:
    """For a model in fp32; its parameters stay as they are."""
    for module in vae.modules():
        match module:
            case WanCausalConv3d() if torch.backends.mkldnn.is_available():
                module._conv_forward = partial(_onednn, module)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            case WanRMS_norm() if module.channel_first:
                module.forward = partial(_normalise, module)
            case _:
                continue


def convolve(module: WanCausalConv3d, padded_BCTHW: torch.Tensor) -> torch.Tensor:
    """The convolution alone, without its padding."""
    return module._conv_forward(padded_BCTHW, module.weight, module.bias)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _onednn(module: WanCausalConv3d, input: torch.Tensor, weight: torch.Tensor, bias: Any) -> torch.Tensor:  # noqa: A002  # the name that it takes the place of
    return torch.ops.aten.mkldnn_convolution(
        input, weight, bias, module.padding, module.stride, module.dilation, module.groups
    )


def _normalise(module: WanRMS_norm, x: torch.Tensor) -> torch.Tensor:
    norm = x.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(NORM_MIN)
    return x / norm * module.scale * module.gamma + module.bias
