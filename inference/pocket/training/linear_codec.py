"""A linear codec with the shape of the Wan VAE, trained in minutes, from which `vae_init` initialises the VAE.

Without its residual branches the VAE is linear: strided convolutions down to 16 numbers per 8 × 8 pixels, nearest
upsampling and convolutions back. The best linear codec is therefore a starting point for the VAE, better than random
weights get in hours of training: only the nonlinear rest is left to learn.
"""

import math
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import nn
from torch.nn import functional


class LinearCodec(nn.Module):
    """The VAE without its residual branches, for pictures: B × 3 × H × W to B × 16 × H/8 × W/8 and back."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        convs = [conv.weight.shape for conv in encoder_path(vae)]
        outs = [shape[0] - 1 for shape in convs[:-1]]
        self.z_dim = vae.config["z_dim"]
        self.down = _chain([3, *outs, self.z_dim], [1, 2, 2, 2])
        outs = [conv.weight.shape[0] - 1 for conv in decoder_path(vae)[:-1]]
        outs[-1] = outs[-1] // 2
        self.up = _chain([self.z_dim, *outs, 3], [1] * 5)

    def encode(self, rgb_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the latents, B × 16 × H/8 × W/8, of pictures in [-1, 1]."""
        return self.encode_in_parts(rgb_BCHW)[-1]

    def encode_in_parts(self, rgb_BCHW: torch.Tensor) -> list[torch.Tensor]:
        """Return the output of every convolution of the encoder on pictures in [-1, 1]; the last is the latents."""
        values, parts = rgb_BCHW, list[torch.Tensor]()
        for conv in self.down:
            values = conv(functional.pad(values, (0, 1, 0, 1)) if _strides(conv) else values)
            parts.append(values)
        return parts

    def decode(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the pictures of latents, B × 16 × H/8 × W/8: B × 3 × H × W, not clamped."""
        return self.decode_in_parts(latents_BCHW)[-1]

    def decode_in_parts(self, latents_BCHW: torch.Tensor) -> list[torch.Tensor]:
        """Return the output of every convolution of the decoder; the last is the pictures in [-1, 1]."""
        values, parts = latents_BCHW, list[torch.Tensor]()
        for index, conv in enumerate(self.up):
            if 0 < index < len(self.up) - 1:
                values = functional.interpolate(values, scale_factor=2.0, mode="nearest-exact")
            values = conv(values)
            parts.append(values)
        return parts


def _strides(conv: nn.Module) -> bool:
    """Return whether the convolution halves the sides of its input."""
    return cast(nn.Conv2d, conv).stride == (2, 2)


def _chain(channels: list[Any], strides: list[int]) -> nn.ModuleList:
    """Return 3 × 3 convolutions, initialised as near to an isometry as their shapes allow.

    `channels` has one number more than `strides`, whose numbers are 1 or 2.
    """
    chain = nn.ModuleList()
    for ins, outs, stride in zip(channels[:-1], channels[1:], strides, strict=True):
        conv = nn.Conv2d(ins, outs, 3, stride, padding=0 if stride == 2 else 1)
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(cast(nn.Parameter, conv.bias))
        with torch.no_grad():
            if stride == 2:
                block = nn.init.orthogonal_(torch.empty(outs, ins * 4))
                conv.weight[:, :, :2, :2] = block.view(outs, ins, 2, 2)
            else:
                conv.weight[:, :, 1, 1] = nn.init.orthogonal_(torch.empty(outs, ins))
                conv.weight += torch.randn_like(conv.weight) * 0.1 / math.sqrt(9 * ins)
        chain.append(conv)
    return chain


def encoder_path(vae: Any) -> list[Any]:
    """Return the convolutions of the VAE's encoder on its linear path, first to last."""
    return [
        vae.encoder.conv_in,
        *(block.resample[1] for block in vae.encoder.down_blocks if hasattr(block, "resample")),
    ]


def decoder_path(vae: Any) -> list[Any]:
    """Return the convolutions of the VAE's decoder on its linear path, first to last."""
    ups = [block.upsamplers[0].resample[1] for block in vae.decoder.up_blocks if block.upsamplers is not None]
    return [vae.decoder.conv_in, *ups, vae.decoder.conv_out]


def whiten(codec: LinearCodec, rgb_BCHW: torch.Tensor) -> None:
    """Rotate and scale the codec's latents, in place: uncorrelated on these pictures, with mean 0 and deviation 1.

    The decoder is changed inversely, so the codec decodes to the same pictures.
    """
    with torch.no_grad():
        latents_NC = codec.encode(rgb_BCHW).movedim(1, -1).flatten(0, -2)
        mean = latents_NC.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov(latents_NC.T))
        turn, deviation = vectors.flip(1).T, values.flip(0).clamp_min(1e-6).sqrt()
        last, first = cast(nn.Conv2d, codec.down[-1]), cast(nn.Conv2d, codec.up[0])
        bias_in, bias_out = cast(nn.Parameter, last.bias), cast(nn.Parameter, first.bias)
        there, back = turn / deviation[:, None], turn.T * deviation
        last.weight.copy_(torch.einsum("zi,ichw->zchw", there, last.weight))
        bias_in.copy_(there @ (bias_in - mean))
        bias_out += first.weight.sum(dim=(2, 3)) @ mean
        first.weight.copy_(torch.einsum("oihw,iz->ozhw", first.weight, back))
