"""The linear codec inside the VAE: planted, it does there what it does alone."""

from typing import Any

import pytest
import torch

from inference.pocket import whole_clip
from inference.pocket.training.linear_codec import LinearCodec, whiten
from inference.pocket.training.vae_init import initialise_from
from inference.pocket.whole_clip import whole_clips
from inference.wan import new_components
from tests.kit.short_training import SMALL


@pytest.fixture
def pictures() -> torch.Tensor:
    noise = torch.rand(6, 3, 48, 32, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.avg_pool2d(4 * noise - 2, 5, 1, 2).clamp(-1, 1)


@pytest.fixture
def codec(pictures: torch.Tensor) -> Any:
    torch.manual_seed(2)
    codec: Any = LinearCodec(new_components.vae(SMALL.model))
    with torch.no_grad():  # so that what it decodes has a picture's size
        codec.up[-1].weight *= pictures.std() / codec.decode(codec.encode(pictures)).std()
    return codec


@pytest.fixture
def vae() -> Any:
    return new_components.vae(SMALL.model)


def test_whitened_latents_are_independent_and_decode_to_the_same(codec: Any, pictures: torch.Tensor):
    with torch.no_grad():
        before = codec.decode(codec.encode(pictures))
        whiten(codec, pictures)
        latents = codec.encode(pictures).movedim(1, -1).flatten(0, -2)
        # Not at the edges: there the decoder sees zeros, which the latents' mean is no more.
        inside = (..., slice(8, -8), slice(8, -8))
        assert torch.allclose(codec.decode(codec.encode(pictures))[inside], before[inside], atol=2e-3)
    assert latents.mean(dim=0).abs().max() < 1e-3
    assert (torch.cov(latents.T) - torch.eye(16)).abs().max() < 1e-2


def test_a_planted_codec_is_what_the_vae_does(codec: Any, vae: Any, pictures: torch.Tensor):
    whiten(codec, pictures)
    initialise_from(codec, vae, pictures)
    with torch.no_grad():
        wanted = codec.encode(pictures)
        latents = vae.encode(pictures[:, :, None]).latent_dist.mode()
        assert (latents[:, :, 0] - wanted).std() < 0.06 * wanted.std()
        decoded = codec.decode(wanted).clamp(-1, 1)
        assert (vae.decode(wanted[:, :, None]).sample[:, :, 0] - decoded).std() < 0.06 * decoded.std()


def test_a_planted_vae_shows_of_every_four_frames_the_newest(codec: Any, vae: Any, pictures: torch.Tensor):
    initialise_from(codec, vae, pictures)
    clip = pictures[:5].transpose(0, 1)[None]
    with torch.no_grad():
        made = vae.decode(vae.encode(clip).latent_dist.mode()).sample
        last = vae.decode(vae.encode(clip[:, :, 4:]).latent_dist.mode()).sample
    for frame in range(1, 5):
        assert torch.allclose(made[:, :, frame], last[:, :, 0], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 9])
def test_a_whole_clip_at_once_is_the_same_as_four_frames_at_a_time(vae: Any, frames: int):
    video = torch.rand(1, 3, frames, 32, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(video).latent_dist.mode()
        decoded = vae.decode(latents).sample
        with whole_clips(vae):
            mean, _ = whole_clip.encode(vae, video)
            assert torch.allclose(mean, latents, atol=1e-4)
            assert torch.allclose(whole_clip.decode(vae, latents).clamp(-1, 1), decoded, atol=1e-4)
        assert torch.equal(vae.encode(video).latent_dist.mode(), latents)
