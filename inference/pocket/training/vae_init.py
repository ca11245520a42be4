"""Initialises the pocket VAE from a trained linear codec.

Two tricks carry numbers unharmed through the nonlinear ends. RMS norm keeps a vector's direction alone: one channel
holds a large constant, beside which the rest keep their size. And silu(y) − silu(−y) = y: what has to come through a
SiLU goes in twice, with both signs.
"""

import math
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanAttentionBlock, WanResidualBlock
from torch import nn

from inference.pocket.training.linear_codec import LinearCodec, decoder_path, encoder_path

# How much longer the constant is than all that passes through RMS norm beside it.
CONSTANT_RATIO = 4.0
LOG_VARIANCE = -5.0


def initialise_from(codec: LinearCodec, vae: AutoencoderKLWan, rgb_BCHW: torch.Tensor) -> None:
    """Make the VAE do on pictures what the codec does, its branches ready to learn the rest.

    `rgb_BCHW` are pictures from which the size of every channel is measured. A clip comes out as a slide show: the
    newest frame of each four.
    """
    with torch.no_grad():
        _silence_branches(vae)
        _initialise_encoder(codec, vae, rgb_BCHW)
        _initialise_decoder(codec, vae, codec.encode(rgb_BCHW))
        for conv in (vae.quant_conv, vae.post_quant_conv):
            conv.weight.copy_(torch.eye(conv.weight.shape[0])[:, :, None, None, None])


def _silence_branches(vae: AutoencoderKLWan) -> None:
    """Branches add nothing yet, shortcuts pass on, and frames know only themselves."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.zeros_(cast(nn.Parameter, module.bias))
        if isinstance(module, WanResidualBlock):
            weight = module.conv1.weight
            nn.init.zeros_(weight)
            nn.init.normal_(weight[:, :, -1], std=math.sqrt(2 / weight[0, :, -1].numel()))
            nn.init.zeros_(module.conv2.weight)
            if isinstance(module.conv_shortcut, nn.Conv3d):
                _pass_channels(module.conv_shortcut)
        if isinstance(module, WanAttentionBlock):
            nn.init.zeros_(module.proj.weight)
    for name, module in vae.named_modules():
        if name.endswith("time_conv"):
            conv = cast(nn.Conv3d, module)
            eye = torch.eye(conv.weight.shape[1])
            nn.init.zeros_(conv.weight)
            conv.weight[:, :, -1, 0, 0] = eye.repeat(conv.weight.shape[0] // len(eye), 1)


def _pass_channels(shortcut: nn.Conv3d) -> None:
    """Pass every channel on, and the last one, the constant, as the last one."""
    outs, ins = shortcut.weight.shape[:2]
    nn.init.zeros_(shortcut.weight)
    for channel in range(min(ins, outs) - 1):
        shortcut.weight[channel, channel] = 1
    shortcut.weight[-1, ins - 1] = 1


def _newest(conv: nn.Module) -> torch.Tensor:
    """The weights that see the newest frame, as a view: out × in × height × width."""
    weight = cast(nn.Parameter, conv.weight)
    return weight[:, :, -1] if weight.ndim == 5 else weight


def _initialise_encoder(codec: LinearCodec, vae: AutoencoderKLWan, rgb_BCHW: torch.Tensor) -> None:
    parts = codec.encode_in_parts(rgb_BCHW)
    scale_in = torch.ones(3)
    for conv, linear, part in zip(encoder_path(vae)[:-1], list(codec.down)[:-1], parts[:-1], strict=True):
        size = _rms(part)
        _initialise_conv(conv, cast(nn.Conv2d, linear), scale_in, size)
        _set_constant(conv, math.sqrt(len(size)))
        scale_in = size
    last, linear, z_dim = encoder_path(vae)[-1], cast(nn.Conv2d, codec.down[-1]), codec.z_dim
    _initialise_conv(last, linear, scale_in, torch.ones(z_dim))
    weight = cast(nn.Parameter, last.weight)
    bias = cast(nn.Parameter, last.bias)
    weight[z_dim : 2 * z_dim], bias[z_dim : 2 * z_dim] = -weight[:z_dim], -bias[:z_dim]
    # What the latents do not hold, for the branches that come after.
    nn.init.normal_(weight[2 * z_dim : -1], std=0.5 / math.sqrt(weight[0].numel()))
    length_2 = 2 * parts[-1].square().sum(1).mean().item() + 0.25 * (weight.shape[0] - 2 * z_dim - 1)
    _set_constant(last, CONSTANT_RATIO * math.sqrt(length_2))
    out = vae.encoder.conv_out
    nn.init.zeros_(out.weight)
    gain = math.sqrt((1 + CONSTANT_RATIO**2) * length_2 / out.weight.shape[1])
    _newest(out)[:z_dim, : 2 * z_dim, 1, 1] = gain * torch.cat([torch.eye(z_dim), -torch.eye(z_dim)], dim=1)
    cast(nn.Parameter, out.bias)[z_dim:] = LOG_VARIANCE


def _initialise_decoder(codec: LinearCodec, vae: AutoencoderKLWan, latents_BCHW: torch.Tensor) -> None:
    parts = codec.decode_in_parts(latents_BCHW)
    *convs, out = decoder_path(vae)
    scale_in = torch.ones(codec.z_dim)
    for conv, linear, part in zip(convs, list(codec.up)[:-1], parts[:-1], strict=True):
        size = _rms(part)
        _initialise_conv(conv, cast(nn.Conv2d, linear), scale_in, size)
        _set_constant(conv, math.sqrt(len(size)))
        scale_in = size
    count = len(scale_in)
    weight, bias = cast(nn.Parameter, convs[-1].weight), cast(nn.Parameter, convs[-1].bias)
    weight[count : 2 * count], bias[count : 2 * count] = -weight[:count], -bias[:count]
    length_2 = 2 * float(count)
    _set_constant(convs[-1], CONSTANT_RATIO * math.sqrt(length_2))
    last = cast(nn.Conv2d, codec.up[-1])
    nn.init.zeros_(cast(nn.Parameter, out.weight))
    gain = math.sqrt((1 + CONSTANT_RATIO**2) * length_2 / _newest(out).shape[1])
    scaled = gain * last.weight * scale_in[:, None, None]
    _newest(out)[:, : 2 * count] = torch.cat([scaled, -scaled], dim=1)
    cast(nn.Parameter, out.bias).copy_(cast(nn.Parameter, last.bias))


def _rms(part_BCHW: torch.Tensor) -> torch.Tensor:
    """The root mean square of every channel."""
    return part_BCHW.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-3)


def _initialise_conv(conv: nn.Module, linear: nn.Conv2d, scale_in: torch.Tensor, scale_out: torch.Tensor) -> None:
    outs, ins = linear.weight.shape[:2]
    nn.init.zeros_(cast(nn.Parameter, conv.weight))
    _newest(conv)[:outs, :ins] = linear.weight * scale_in[:, None, None] / scale_out[:, None, None, None]
    cast(nn.Parameter, conv.bias)[:outs] = cast(nn.Parameter, linear.bias) / scale_out


def _set_constant(conv: nn.Module, value: float) -> None:
    _newest(conv)[-1] = 0
    cast(nn.Parameter, conv.bias)[-1] = value
