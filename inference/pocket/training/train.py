"""Trains the pocket model: `python -m inference.pocket.training.train [STATE [THREADS [DEVICE [RECIPE]]]]`.

Order: pictures → text → linear codec → VAE on pictures → VAE on clips → latents → transformer, small, then full size.
Every stage keeps its file in the state folder; removing a file and those after it does the stage again. SIGTERM and
Ctrl-C stop it after the step; after a kill the last two minutes are done again, on a CPU to the same result.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from inference.pocket import build
from inference.pocket.build import Parts
from inference.pocket.data.image_dataset import Album
from inference.pocket.data.latent_dataset import Encoder, Shelf, measure
from inference.pocket.training.dit_training import Sayings, flow_loss, hear_as_others_do, prepare
from inference.pocket.training.linear import LinearCodec, plant, whiten
from inference.pocket.training.recipe import RECIPES, Recipe
from inference.pocket.training.run import Sitting, show
from inference.pocket.training.stage import StepLoss
from inference.pocket.training.text_training import Listener, text_loss
from inference.pocket.training.vae_training import clip_loss, linear_loss, picture_loss
from inference.pocket.whole_clip import whole_clips

STATE = Path("~/.cache/wanjet/pocket").expanduser()


def train(sitting: Sitting, recipe: Recipe) -> Parts:
    """The model as far as it is trained; what the folder holds is not done again."""
    sitting.claim(recipe.shape, recipe.pictures, recipe.photos, recipe.small_views, recipe.full_views)
    album = sitting.album(recipe.pictures, photos=recipe.photos)
    parts = build.new_parts(recipe.shape)
    parts = replace(parts, text_encoder=_text_encoder(sitting, recipe, parts.tokenizer))
    parts = replace(parts, vae=_vae(sitting, recipe, album))
    return replace(parts, transformer=_transformer(sitting, recipe, parts, album))


def _vae(sitting: Sitting, recipe: Recipe, album: Album) -> AutoencoderKLWan:
    torch.manual_seed(build.SEED)
    vae = build.new_vae(recipe.shape)
    codec = LinearCodec(vae)
    codec.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - its stub has forgotten this
    batch, side = recipe.picture_batch, recipe.side
    sitting.bring("linear", codec, recipe.linear, lambda: linear_loss(codec, album, batch, side))
    codec.cpu()
    measured = album.crops(recipe.measured, side, torch.Generator().manual_seed(build.SEED)).cpu()
    whiten(codec, measured)
    plant(codec, vae, measured)
    with whole_clips(vae):
        sitting.bring("vae-pictures", vae, recipe.vae_pictures, lambda: picture_loss(vae, album, batch, side))
        batch, frames = recipe.clip_batch, recipe.clip_frames
        sitting.bring("vae-clips", vae, recipe.vae_clips, lambda: clip_loss(vae, album, batch, side, frames))
    return vae


def _text_encoder(sitting: Sitting, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> UMT5EncoderModel:
    torch.manual_seed(build.SEED)
    listener = Listener(build.new_text_encoder(recipe.shape, vocabulary=len(tokenizer)))
    sitting.bring("text", listener, recipe.text, lambda: text_loss(listener, tokenizer, recipe.text_batch))
    return listener.encoder


def _transformer(sitting: Sitting, recipe: Recipe, parts: Parts, album: Album) -> WanTransformer3DModel:
    """Also writes into the VAE's config how its latents are distributed."""
    torch.manual_seed(build.SEED)
    transformer = build.new_transformer(recipe.shape)
    prepare(transformer)
    cast(nn.Module, parts.image_encoder).to(sitting.device)
    encoder = Encoder(parts.vae, parts.image_processor, parts.image_encoder)
    measured = sitting.folder / "latents-small"
    for size, views, schedule, batch, weight in (
        ("small", recipe.small_views, recipe.small, recipe.small_batch, 1.0),
        ("full", recipe.full_views, recipe.full, recipe.full_batch, recipe.full_first_frame_weight),
    ):
        folder = sitting.shelve(f"latents-{size}", views, album, encoder)

        def loss_of(folder: Path = folder, batch: int = batch, weight: float = weight) -> StepLoss:
            shelf = Shelf(folder, *measure(measured), sitting.device)
            sayings = Sayings(parts.text_encoder, parts.tokenizer, recipe.prompts_a_motion)
            return flow_loss(transformer, shelf, sayings, batch, first_frame_weight=weight)

        sitting.bring(f"transformer-{size}", transformer, schedule, loss_of)
    if any(measured.glob("*.safetensors")):
        mean, std = measure(measured)
        parts.vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    hear_as_others_do(transformer)
    return transformer


def main(arguments: list[str]) -> None:
    folder, threads, device = [*arguments, *(str(STATE), "1", "cpu")[len(arguments) :]][:3]
    recipe = arguments[3] if len(arguments) > 3 else "cpu" if device == "cpu" else "gpu"
    torch.set_num_threads(int(threads))
    sitting = Sitting(Path(folder), show, device=torch.device(device))
    sitting.stop_when_told()
    train(sitting, RECIPES[recipe])
    show("stopped: run it again to go on" if sitting.stop.is_set() else "done")


if __name__ == "__main__":
    main(sys.argv[1:])
