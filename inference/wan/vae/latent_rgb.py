"""A linear map from the VAE's latents to colours, fitted when the model is loaded: for previews of a running job.

A latent pixel stands for 8 × 8 pixels of the video; from its channels follows their mean colour, nearly. Rank 0 fits
the map by least squares to whatever VAE is there, on synthetic pictures that it has the VAE encode.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch.nn import functional

from inference.wan.pixels import rgb_bytes
from inference.wan.vae.codec import SPATIAL_STRIDE, TEMPORAL_STRIDE, latents_of

SIDE_PIXELS = 96
SEED = 0
OCTAVES = (2, 4, 8, 16, 32, 64)
"""The cells along a side of the layers of noise that a picture is made of, each half as strong as the one before it."""
GREY_SHARE = 0.7
"""How much of a synthetic picture's contrast is brightness alone; photographs have about so much."""
RIDGE = 1e-3
"""Keeps the least squares defined if a VAE has channels that no picture uses."""


@dataclass(frozen=True)
class LatentRgb:
    """The map: `weights_3C` and `bias_3`. `psnr_db` says how well half of the samples tell the other half."""

    weights_3C: torch.Tensor
    bias_3: torch.Tensor
    psnr_db: float

    def picture(self, latents_CHW: torch.Tensor) -> np.ndarray:
        """Return the colours of one frame of latents, as the transformer has them: H × W × 3, uint8."""
        rgb_3HW = torch.einsum("rc,chw->rhw", self.weights_3C, latents_CHW.float()) + self.bias_3[:, None, None]
        return rgb_bytes(rgb_3HW)


def fit(vae: AutoencoderKLWan) -> LatentRgb:
    """Return the map that fits the VAE best, on its device. Encodes one clip of five frames of `SIDE_PIXELS`."""
    with torch.inference_mode():
        latents_NC, colours_N3 = _samples(vae)
        known, new = slice(0, None, 2), slice(1, None, 2)
        tried_C3 = _least_squares(latents_NC[known], colours_N3[known])
        error_N3 = (_with_one(latents_NC[new]) @ tried_C3).clamp(-1, 1) - colours_N3[new]
        solution_C3 = _least_squares(latents_NC, colours_N3).float().to(vae.device)
    psnr_db = float(10 * torch.log10(4 / error_N3.square().mean()))  # values span 2, from -1 to 1
    return LatentRgb(solution_C3[:-1].T.contiguous(), solution_C3[-1], psnr_db)


def _samples(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latent pixels, N × C, and the mean colours that they stand for, N × 3, both in fp64 on the CPU.

    They are of the second frame of latents: the first stands for one frame of the video and not for four.
    """
    clip_BCTHW = _clip()
    latents_CHW = latents_of(vae, clip_BCTHW.to(vae.device, vae.dtype))[0, :, 1]
    colours_CHW = functional.avg_pool2d(clip_BCTHW[0, :, 1:].mean(1), SPATIAL_STRIDE)
    return latents_CHW.flatten(1).T.double().cpu(), colours_CHW.flatten(1).T.double()


def _clip() -> torch.Tensor:
    """Return a clip of a synthetic picture that moves by a pixel a frame, in [-1, 1]: 1 × 3 × 5 × side × side.

    The picture is noise of the spectrum of photographs, mostly of brightness.
    """
    draw = torch.Generator().manual_seed(SEED)
    picture_3HW = torch.zeros(1, 3, SIDE_PIXELS, SIDE_PIXELS)
    for octave, cells in enumerate(OCTAVES):
        colour, grey = (torch.randn(1, channels, cells, cells, generator=draw) for channels in (3, 1))
        layer = (1 - GREY_SHARE) * colour + GREY_SHARE * grey
        picture_3HW += functional.interpolate(layer, size=SIDE_PIXELS, mode="bilinear") * 0.5**octave
    picture_3HW = (picture_3HW - picture_3HW.mean()) / (2 * picture_3HW.std())
    return torch.stack([picture_3HW.roll(shift, -1) for shift in range(1 + TEMPORAL_STRIDE)], 2).clamp(-1, 1)


def _least_squares(samples_NC: torch.Tensor, targets_N3: torch.Tensor) -> torch.Tensor:
    """Return the (C + 1) × 3 weights, the bias last, of the least squared error."""
    known_ND = _with_one(samples_NC)
    penalty = RIDGE * torch.eye(known_ND.shape[1], dtype=known_ND.dtype)
    return torch.linalg.solve(known_ND.T @ known_ND + penalty, known_ND.T @ targets_N3)


def _with_one(samples_NC: torch.Tensor) -> torch.Tensor:
    """Return the samples with a further channel of ones."""
    return torch.cat([samples_NC, torch.ones_like(samples_NC[:, :1])], 1)
