"""Trains the pocket VAE: a linear codec, then pictures, then clips. Knows no text and no transformer."""

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from inference.pocket import whole_clip
from inference.pocket.data.image_dataset import ImageDataset
from inference.pocket.draws import normal
from inference.pocket.training.linear_codec import LinearCodec
from inference.pocket.training.precision import autocast
from inference.pocket.training.stage import StepLoss

# Latents stay near a normal distribution by this share of the loss; more would cost sharpness.
DIVERGENCE_WEIGHT = 2e-6
# Beside squared errors, which PSNR counts, some absolute ones: edges are blurred less.
ABSOLUTE_WEIGHT = 0.02


def linear_loss(codec: LinearCodec, images: ImageDataset, batch: int, side: int) -> StepLoss:
    def loss(_step: int, rng: torch.Generator) -> torch.Tensor:
        rgb_BCHW = images.crops(batch, side, rng).contiguous(memory_format=torch.channels_last)
        return (codec.decode(codec.encode(rgb_BCHW)) - rgb_BCHW).square().mean()

    return loss


def picture_loss(vae: AutoencoderKLWan, images: ImageDataset, batch: int, side: int) -> StepLoss:
    def loss(_step: int, rng: torch.Generator) -> torch.Tensor:
        return reconstruction_loss(vae, images.crops(batch, side, rng)[:, :, None], rng)

    return loss


def clip_loss(vae: AutoencoderKLWan, images: ImageDataset, batch: int, side: int, frames: int) -> StepLoss:
    """Every other step is of pictures, lest first frames be forgotten."""
    pictures = picture_loss(vae, images, 3 * batch, side)

    def loss(step: int, rng: torch.Generator) -> torch.Tensor:
        if step % 2:
            return pictures(step, rng)
        return reconstruction_loss(vae, images.clips(batch, side, frames, rng), rng)

    return loss


def reconstruction_loss(vae: AutoencoderKLWan, video_BCTHW: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Of a VAE inside `whole_clips`, on the video's device: there and back, with the noise that its variance says."""
    with autocast(vae):
        mean, log_variance = whole_clip.encode(vae, video_BCTHW)
        mean, log_variance = mean.float(), log_variance.float()
        noise = normal(mean.shape, rng, mean.device)
        made_BCTHW = whole_clip.decode(vae, mean + (0.5 * log_variance).exp() * noise).float()
    error = made_BCTHW - video_BCTHW
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return error.square().mean() + ABSOLUTE_WEIGHT * error.abs().mean() + DIVERGENCE_WEIGHT * divergence
