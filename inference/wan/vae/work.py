"""Weigh the work of the VAE's blocks against each other, so that its passes can be counted evenly. For `codec`.

The VAE encodes or decodes a clip in passes: the first of one frame, each further one of four. Within a pass most time
goes to the blocks at full resolution.
"""

from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanDecoder3d,
    WanEncoder3d,
    WanResample,
    WanResidualBlock,
)

from inference.wan.counting import Work

FRAMES_A_PASS = 4
_GROWTH = {
    "upsample2d": (4.0, 1.0),
    "upsample3d": (4.0, 2.0),
    "downsample2d": (1 / 4, 1.0),
    "downsample3d": (1 / 4, 1 / 2),
}
"""How many times as many pixels, and frames in all passes but the first, a module returns as it gets."""


def works(part: WanEncoder3d | WanDecoder3d, *, finely: bool) -> list[Work]:
    """Return the work of one pass of the encoder or the decoder: of its blocks if `finely`, else of the whole.

    The work is the number of parameters times the number of pixels in all frames.
    """
    blocks = _blocks(part)
    return blocks if finely else [Work(part, sum(each.first for each in blocks), sum(each.later for each in blocks))]


def _blocks(part: WanEncoder3d | WanDecoder3d) -> list[Work]:
    """Return the work of each block in a pass; modules stand in the order in which they are called."""
    pixels, frames = 1.0, float(FRAMES_A_PASS) if isinstance(part, WanEncoder3d) else 1.0
    found: list[Work] = []
    for module in part.modules():
        if isinstance(module, WanResample):
            more_pixels, more_frames = _GROWTH.get(module.mode, (1.0, 1.0))
            pixels, frames = pixels * more_pixels, frames * more_frames
        elif not isinstance(module, WanResidualBlock | WanAttentionBlock) and module is not part.conv_out:
            continue
        parameters = sum(parameter.numel() for parameter in module.parameters())
        found.append(Work(module, parameters * pixels, parameters * pixels * frames))
    return found
