"""Encodes the first frame and decodes latents with the VAE, normalised as the transformer has them.

Called by `generate`: pictures and videos are in [-1, 1], latents have mean 0 and deviation 1.
"""

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from PIL import Image
from torch.distributed.device_mesh import DeviceMesh

from inference.wan.counting import Report, counted, ignore_share
from inference.wan.pixels import pixel_values
from inference.wan.vae.bands import working_in_bands
from inference.wan.vae.work import works

TEMPORAL_STRIDE = 4
SPATIAL_STRIDE = 8


def first_frame_condition(
    vae: AutoencoderKLWan,
    image: Image.Image,
    num_frames: int,
    rows: DeviceMesh | None = None,
    report: Report = ignore_share,
) -> torch.Tensor:
    """Return the condition that the transformer gets beside the noise, 1 × 20 × T × H/8 × W/8 in fp32.

    4 mask channels come first, then 16 of latents. The latents encode a clip that begins with the image and is grey
    afterwards; the mask is 1 for the given frame. `image` has exactly the video's size; `num_frames` is 4n+1. A
    collective of the axis `rows`, whose ranks share the work; each returns the whole. `report` is called with the share
    that is done, as `counting` has it. Source: `wan/image2video.py` of Wan-Video/Wan2.1.
    """
    passes, blocks = 1 + (num_frames - 1) // TEMPORAL_STRIDE, works(vae.encoder, finely=vae.device.type == "cpu")
    with working_in_bands(vae, rows, image.height // SPATIAL_STRIDE) as bands, counted(blocks, passes, report):
        pixels_CHW = bands.local(pixel_values(image))
        height, width = pixels_CHW.shape[1:]
        video_BCTHW = torch.zeros(1, 3, num_frames, height, width, dtype=vae.dtype, device=vae.device)
        video_BCTHW[:, :, 0] = pixels_CHW
        latents_BCTHW = bands.gather(latents_of(vae, video_BCTHW))
    return with_mask_channels(latents_BCTHW).float()


def latents_of(vae: AutoencoderKLWan, video_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return the normalised latents of a video in [-1, 1], on the VAE's device: B × 16 × T × H/8 × W/8."""
    mean, inverse_std = _normalisation(vae)
    return (vae.encode(video_BCTHW, return_dict=False)[0].mode() - mean) * inverse_std


def with_mask_channels(latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Prepend the mask of a clip whose first frame is given: B × 16 × T × H × W becomes B × 20 × T × H × W."""
    mask_BMTHW = torch.zeros_like(latents_BCTHW[:, :TEMPORAL_STRIDE])
    mask_BMTHW[:, :, 0] = 1
    return torch.cat([mask_BMTHW, latents_BCTHW], dim=1)


def decode(
    vae: AutoencoderKLWan, latents_BCTHW: torch.Tensor, rows: DeviceMesh | None = None, report: Report = ignore_share
) -> torch.Tensor:
    """Return the video of the latents, 1 × 16 × T × H × W: 3 × frames × height × width, in [-1, 1], in the VAE's dtype.

    A collective of the axis `rows`, whose ranks share the work. The first of them, rank 0 of the cluster among them,
    returns the whole video, and each other rank its own rows alone. `report` is as in `first_frame_condition`.
    """
    mean, inverse_std = _normalisation(vae)
    blocks = works(vae.decoder, finely=vae.device.type == "cpu")
    with working_in_bands(vae, rows, latents_BCTHW.shape[-2]) as bands, counted(blocks, latents_BCTHW.shape[2], report):
        # Divide by the inverse, as diffusers does: multiplying by the deviation rounds differently.
        local_BCTHW = bands.local(latents_BCTHW).to(vae.dtype) / inverse_std + mean
        return bands.gather_on_first(vae.decode(local_BCTHW, return_dict=False)[0][0])


def _normalisation(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of the VAE's latents and the inverse of their deviation, each 1 × C × 1 × 1 × 1."""
    mean = torch.tensor(vae.config["latents_mean"]).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config["latents_std"]).view(1, -1, 1, 1, 1)
    return mean.to(vae.device, vae.dtype), (1 / std).to(vae.device, vae.dtype)
