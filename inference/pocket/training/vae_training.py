"""Losses of the pocket VAE's three stages: the linear codec, the VAE on pictures, the VAE on clips. Used by `train`."""

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from inference.pocket import whole_clip
from inference.pocket.data.image_dataset import ImageDataset
from inference.pocket.draws import normal
from inference.pocket.training.linear_codec import LinearCodec
from inference.pocket.training.precision import autocast
from inference.pocket.training.stage import StepLoss

# Weight of the KL divergence, which keeps latents near a normal distribution; a larger weight costs sharpness.
DIVERGENCE_WEIGHT = 2e-6
# Weight of the absolute error beside the squared error: it blurs edges less.
ABSOLUTE_WEIGHT = 0.02


def linear_loss(codec: LinearCodec, images: ImageDataset, batch: int, side: int) -> StepLoss:
    """Return the squared error of the linear codec on random crops, `batch` a step and `side` pixels wide."""

    def loss(_step: int, rng: torch.Generator) -> torch.Tensor:
        rgb_BCHW = images.crops(batch, side, rng).contiguous(memory_format=torch.channels_last)
        return (codec.decode(codec.encode(rgb_BCHW)) - rgb_BCHW).square().mean()

    return loss


def picture_loss(vae: AutoencoderKLWan, images: ImageDataset, batch: int, side: int) -> StepLoss:
    """Return the reconstruction loss on random crops, as clips of one frame, `batch` a step and `side` pixels wide."""

    def loss(_step: int, rng: torch.Generator) -> torch.Tensor:
        return reconstruction_loss(vae, images.crops(batch, side, rng)[:, :, None], rng)

    return loss


def clip_loss(vae: AutoencoderKLWan, images: ImageDataset, batch: int, side: int, frames: int) -> StepLoss:
    """Return the loss on clips; every other step is on pictures, lest the VAE forget first frames.

    A step has `batch` clips, or three times as many pictures, `side` pixels wide.
    """
    pictures = picture_loss(vae, images, 3 * batch, side)

    def loss(step: int, rng: torch.Generator) -> torch.Tensor:
        if step % 2:
            return pictures(step, rng)
        return reconstruction_loss(vae, images.clips(batch, side, frames, rng), rng)

    return loss


def reconstruction_loss(vae: AutoencoderKLWan, video_BCTHW: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return squared and absolute error and KL divergence, weighted, of the video, encoded, sampled and decoded.

    The VAE must be within `whole_clips` and on the video's device.
    """
    with autocast(vae):
        mean, log_variance = whole_clip.encode(vae, video_BCTHW)
        mean, log_variance = mean.float(), log_variance.float()
        noise = normal(mean.shape, rng, mean.device)
        made_BCTHW = whole_clip.decode(vae, mean + (0.5 * log_variance).exp() * noise).float()
    error = made_BCTHW - video_BCTHW
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return error.square().mean() + ABSOLUTE_WEIGHT * error.abs().mean() + DIVERGENCE_WEIGHT * divergence
