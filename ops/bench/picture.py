"""Draws soft blotches of colour, as a picture and as a video, so that a benchmark depends on no file."""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

SEED = 0


def picture(width: int, height: int) -> Image.Image:
    """Return the picture, the same for the same size."""
    coarse = np.random.default_rng(SEED).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def film(width: int, height: int, frames: int) -> torch.Tensor:
    """Return a video in the form of the VAE's output: 1 × 3 × frames × height × width in [-1, 1].

    It is the same for the same arguments.
    """
    coarse = torch.rand(1, 3, 2 + frames // 16, 6, 10, generator=torch.Generator().manual_seed(SEED))
    return F.interpolate(2 * coarse - 1, size=(frames, height, width), mode="trilinear")
