"""Initialises the pocket VAE from a trained linear codec, so that it encodes and decodes pictures as the codec does.

Two tricks carry values through the nonlinear last layers. RMS norm scales every vector to the same length: one channel
holds a large constant, so the scale hardly varies and the others keep their size. And silu(y) − silu(−y) = y: a value
that passes a SiLU is stored twice, with both signs.
"""

import math
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanAttentionBlock, WanResidualBlock
from torch import nn

from inference.pocket.training.linear_codec import LinearCodec, decoder_path, encoder_path

# Ratio of the constant to the length of the vector of all other channels.
CONSTANT_RATIO = 4.0
LOG_VARIANCE = -5.0


def initialise_from(codec: LinearCodec, vae: AutoencoderKLWan, rgb_BCHW: torch.Tensor) -> None:
    """Initialise the VAE, in place, to do on pictures what the codec does; its residual branches add zero at first.

    The RMS of every channel is measured on the pictures `rgb_BCHW`. A clip is decoded as a slide show: of every four
    frames the last.
    """
    with torch.no_grad():
        _silence_branches(vae)
        _initialise_encoder(codec, vae, rgb_BCHW)
        _initialise_decoder(codec, vae, codec.encode(rgb_BCHW))
        for conv in (vae.quant_conv, vae.post_quant_conv):
            conv.weight.copy_(torch.eye(conv.weight.shape[0])[:, :, None, None, None])


def _silence_branches(vae: AutoencoderKLWan) -> None:
    """Make branches add zero, shortcuts the identity, and convolutions over time see the current frame only.

    In place, as all below; call them with gradients off.
    """
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.zeros_(cast(nn.Parameter, module.bias))
        if isinstance(module, WanResidualBlock):
            weight = module.conv1.weight
            nn.init.zeros_(weight)
            nn.init.normal_(weight[:, :, -1], std=math.sqrt(2 / weight[0, :, -1].numel()))
            nn.init.zeros_(module.conv2.weight)
            if isinstance(module.conv_shortcut, nn.Conv3d):
                _set_to_identity(module.conv_shortcut)
        if isinstance(module, WanAttentionBlock):
            nn.init.zeros_(module.proj.weight)
    for name, module in vae.named_modules():
        if name.endswith("time_conv"):
            conv = cast(nn.Conv3d, module)
            eye = torch.eye(conv.weight.shape[1])
            nn.init.zeros_(conv.weight)
            conv.weight[:, :, -1, 0, 0] = eye.repeat(conv.weight.shape[0] // len(eye), 1)


def _set_to_identity(shortcut: nn.Conv3d) -> None:
    """Set the weights of a 1 × 1 × 1 shortcut to the identity; its bias stays.

    If the width changes, the last input channel, the constant, goes to the last output channel, and other channels
    without a partner are dropped, or zero. In place; call it with gradients off.
    """
    outs, ins = shortcut.weight.shape[:2]
    nn.init.zeros_(shortcut.weight)
    for channel in range(min(ins, outs) - 1):
        shortcut.weight[channel, channel] = 1
    shortcut.weight[-1, ins - 1] = 1


def _newest(conv: nn.Module) -> torch.Tensor:
    """Return a view of the weights of the last tap in time, the current frame's: out × in × height × width."""
    weight = cast(nn.Parameter, conv.weight)
    return weight[:, :, -1] if weight.ndim == 5 else weight


def _initialise_encoder(codec: LinearCodec, vae: AutoencoderKLWan, rgb_BCHW: torch.Tensor) -> None:
    """Set the encoder's linear path to the codec's, each channel scaled to an RMS of 1, beside the constant.

    The RMS is measured on the pictures `rgb_BCHW`. In place; call it with gradients off.
    """
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
    # Random features beside the latents, for the residual branches behind.
    nn.init.normal_(weight[2 * z_dim : -1], std=0.5 / math.sqrt(weight[0].numel()))
    length_2 = 2 * parts[-1].square().sum(1).mean().item() + 0.25 * (weight.shape[0] - 2 * z_dim - 1)
    _set_constant(last, CONSTANT_RATIO * math.sqrt(length_2))
    out = vae.encoder.conv_out
    nn.init.zeros_(out.weight)
    gain = math.sqrt((1 + CONSTANT_RATIO**2) * length_2 / out.weight.shape[1])
    _newest(out)[:z_dim, : 2 * z_dim, 1, 1] = gain * torch.cat([torch.eye(z_dim), -torch.eye(z_dim)], dim=1)
    cast(nn.Parameter, out.bias)[z_dim:] = LOG_VARIANCE


def _initialise_decoder(codec: LinearCodec, vae: AutoencoderKLWan, latents_BCHW: torch.Tensor) -> None:
    """Set the decoder's linear path to the codec's, each channel scaled to an RMS of 1, beside the constant.

    The RMS is measured while the codec decodes `latents_BCHW`. In place; call it with gradients off.
    """
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
    """Return the root mean square of every channel, at least 0.001: C numbers."""
    return part_BCHW.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-3)


def _initialise_conv(conv: nn.Module, linear: nn.Conv2d, scale_in: torch.Tensor, scale_out: torch.Tensor) -> None:
    """Set the first channels to the linear one's, for inputs divided by `scale_in` and outputs by `scale_out`.

    Both scales have a number for each channel. All other weights become zero, other biases stay. In place; call it with
    gradients off.
    """
    outs, ins = linear.weight.shape[:2]
    nn.init.zeros_(cast(nn.Parameter, conv.weight))
    _newest(conv)[:outs, :ins] = linear.weight * scale_in[:, None, None] / scale_out[:, None, None, None]
    cast(nn.Parameter, conv.bias)[:outs] = cast(nn.Parameter, linear.bias) / scale_out


def _set_constant(conv: nn.Module, value: float) -> None:
    """Make the convolution's last output channel the constant `value`. In place; call it with gradients off."""
    _newest(conv)[-1] = 0
    cast(nn.Parameter, conv.bias)[-1] = value
