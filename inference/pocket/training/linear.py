"""A linear codec of the Wan VAE's own shape, trained in minutes and then planted into it. Knows no data.

Every path of the VAE that passes by its residual branches is linear: strided convolutions down to 16 numbers per 8×8
pixels, nearest upsampling and convolutions back. The best linear codec is therefore a starting point for the VAE
itself, and a better one than random weights reach in hours: what is left to learn is what lines cannot say.

Two tricks carry numbers unharmed through the nonlinear ends. RMS norm keeps a vector's direction alone: one channel
holds a large constant, beside which the rest keep their size. And silu(y) − silu(−y) = y: what has to come through a
SiLU goes in twice, with both signs.
"""

import math
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanAttentionBlock, WanResidualBlock
from torch import nn
from torch.nn import functional

# How much longer the constant is than all that passes through RMS norm beside it.
CONSTANT_RATIO = 4.0
LOG_VARIANCE = -5.0


class LinearCodec(nn.Module):
    """The VAE without its branches, for pictures: B × 3 × H × W to B × 16 × H/8 × W/8 and back."""

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
        return self.encode_in_parts(rgb_BCHW)[-1]

    def encode_in_parts(self, values: torch.Tensor) -> list[torch.Tensor]:
        """What comes out of every convolution."""
        parts: list[torch.Tensor] = []
        for conv in self.down:
            values = conv(functional.pad(values, (0, 1, 0, 1)) if _strides(conv) else values)
            parts.append(values)
        return parts

    def decode(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        return self.decode_in_parts(latents_BCHW)[-1]

    def decode_in_parts(self, values: torch.Tensor) -> list[torch.Tensor]:
        """What comes out of every convolution."""
        parts: list[torch.Tensor] = []
        for index, conv in enumerate(self.up):
            if 0 < index < len(self.up) - 1:
                values = functional.interpolate(values, scale_factor=2.0, mode="nearest-exact")
            values = conv(values)
            parts.append(values)
        return parts


def _strides(conv: nn.Module) -> bool:
    return cast(nn.Conv2d, conv).stride == (2, 2)


def _chain(channels: list[Any], strides: list[int]) -> nn.ModuleList:
    """Convolutions that begin as near to a distance-keeping map as their shapes allow."""
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
    """The convolutions of the encoder that no residual branch leads past."""
    return [
        vae.encoder.conv_in,
        *(block.resample[1] for block in vae.encoder.down_blocks if hasattr(block, "resample")),
    ]


def decoder_path(vae: Any) -> list[Any]:
    """The same of the decoder, its last one included."""
    ups = [block.upsamplers[0].resample[1] for block in vae.decoder.up_blocks if block.upsamplers is not None]
    return [vae.decoder.conv_in, *ups, vae.decoder.conv_out]


def whiten(codec: LinearCodec, rgb_BCHW: torch.Tensor) -> None:
    """Turn and scale the latents so that on these pictures they are uncorrelated, of mean 0 and deviation 1."""
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


def initialise_from(codec: LinearCodec, vae: AutoencoderKLWan, rgb_BCHW: torch.Tensor) -> None:
    """Make the VAE do on pictures what the codec does, its branches ready to learn the rest.

    `rgb_BCHW` are pictures from which the size of every channel is measured. A clip comes out as a slide show: the
    newest frame of each four.
    """
    with torch.no_grad():
        _quieten(vae)
        _plant_encoder(codec, vae, rgb_BCHW)
        _plant_decoder(codec, vae, codec.encode(rgb_BCHW))
        for conv in (vae.quant_conv, vae.post_quant_conv):
            conv.weight.copy_(torch.eye(conv.weight.shape[0])[:, :, None, None, None])


def _quieten(vae: AutoencoderKLWan) -> None:
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
                _embed(module.conv_shortcut)
        if isinstance(module, WanAttentionBlock):
            nn.init.zeros_(module.proj.weight)
    for name, module in vae.named_modules():
        if name.endswith("time_conv"):
            conv = cast(nn.Conv3d, module)
            eye = torch.eye(conv.weight.shape[1])
            nn.init.zeros_(conv.weight)
            conv.weight[:, :, -1, 0, 0] = eye.repeat(conv.weight.shape[0] // len(eye), 1)


def _embed(shortcut: nn.Conv3d) -> None:
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


def _plant_encoder(codec: LinearCodec, vae: AutoencoderKLWan, rgb_BCHW: torch.Tensor) -> None:
    parts = codec.encode_in_parts(rgb_BCHW)
    scale_in = torch.ones(3)
    for conv, linear, part in zip(encoder_path(vae)[:-1], list(codec.down)[:-1], parts[:-1], strict=True):
        size = _sizes(part)
        _plant(conv, cast(nn.Conv2d, linear), scale_in, size)
        _set_constant(conv, math.sqrt(len(size)))
        scale_in = size
    last, linear, z_dim = encoder_path(vae)[-1], cast(nn.Conv2d, codec.down[-1]), codec.z_dim
    _plant(last, linear, scale_in, torch.ones(z_dim))
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


def _plant_decoder(codec: LinearCodec, vae: AutoencoderKLWan, latents_BCHW: torch.Tensor) -> None:
    parts = codec.decode_in_parts(latents_BCHW)
    *convs, out = decoder_path(vae)
    scale_in = torch.ones(codec.z_dim)
    for conv, linear, part in zip(convs, list(codec.up)[:-1], parts[:-1], strict=True):
        size = _sizes(part)
        _plant(conv, cast(nn.Conv2d, linear), scale_in, size)
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


def _sizes(part_BCHW: torch.Tensor) -> torch.Tensor:
    """The root mean square of every channel."""
    return part_BCHW.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-3)


def _plant(conv: nn.Module, linear: nn.Conv2d, scale_in: torch.Tensor, scale_out: torch.Tensor) -> None:
    outs, ins = linear.weight.shape[:2]
    nn.init.zeros_(cast(nn.Parameter, conv.weight))
    _newest(conv)[:outs, :ins] = linear.weight * scale_in[:, None, None] / scale_out[:, None, None, None]
    cast(nn.Parameter, conv.bias)[:outs] = cast(nn.Parameter, linear.bias) / scale_out


def _set_constant(conv: nn.Module, value: float) -> None:
    _newest(conv)[-1] = 0
    cast(nn.Parameter, conv.bias)[-1] = value
