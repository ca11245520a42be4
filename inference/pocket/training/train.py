"""Trains the pocket model: `python -m inference.pocket.training.train [STATE [THREADS [DEVICE [RECIPE]]]]`.

Order: pictures → text → linear codec → VAE on pictures → VAE on clips → latents → transformer, small, then full size.
Every stage has a file in the state folder; to repeat a stage, remove its file and those of later stages. SIGTERM and
Ctrl-C stop after the current step; after a kill the last two minutes are repeated, on a CPU with the same result.
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
from inference.pocket.build import PocketModel
from inference.pocket.data.image_dataset import ImageDataset
from inference.pocket.data.latent_dataset import LatentDataset, LatentEncoder, latent_statistics
from inference.pocket.training.dit_init import initialise_transformer
from inference.pocket.training.dit_training import PromptEmbeddings, flow_loss, restore_attention_processors
from inference.pocket.training.linear_codec import LinearCodec, whiten
from inference.pocket.training.recipe import RECIPES, Recipe
from inference.pocket.training.run import TrainingRun, show
from inference.pocket.training.stage import StepLoss
from inference.pocket.training.text_training import MotionClassifier, text_loss
from inference.pocket.training.vae_init import initialise_from
from inference.pocket.training.vae_training import clip_loss, linear_loss, picture_loss
from inference.pocket.whole_clip import whole_clips
from inference.wan import new_components

STATE = Path("~/.cache/wanjet/pocket").expanduser()


def train(run: TrainingRun, recipe: Recipe) -> PocketModel:
    """Train all stages and return the model; stages that the state folder holds are loaded.

    With `trains=False`, or once stopped, the remaining stages keep their initial weights. Raises ValueError if the
    state folder was begun with other data, and InterruptedError if the run is stopped while pictures are drawn. Seeds
    torch's global generator.
    """
    run.claim_folder(recipe.shape, recipe.pictures, recipe.photos, recipe.small_views, recipe.full_views)
    images = run.images(recipe.pictures, photos=recipe.photos)
    model = build.new_model(recipe.shape)
    model = replace(model, text_encoder=_text_encoder(run, recipe, model.tokenizer))
    model = replace(model, vae=_vae(run, recipe, images))
    return replace(model, transformer=_transformer(run, recipe, model, images))


def _vae(run: TrainingRun, recipe: Recipe, images: ImageDataset) -> AutoencoderKLWan:
    """Train the VAE, or load its stages, and return it: a linear codec, the VAE from it on pictures, then on clips."""
    torch.manual_seed(build.SEED)
    vae = new_components.vae(recipe.shape.model)
    codec = LinearCodec(vae)
    codec.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - its stub has forgotten this
    batch, side = recipe.picture_batch, recipe.side
    run.train_stage("linear", codec, recipe.linear, lambda: linear_loss(codec, images, batch, side))
    codec.cpu()
    measured = images.crops(recipe.measured, side, torch.Generator().manual_seed(build.SEED)).cpu()
    whiten(codec, measured)
    initialise_from(codec, vae, measured)
    with whole_clips(vae):
        run.train_stage("vae-pictures", vae, recipe.vae_pictures, lambda: picture_loss(vae, images, batch, side))
        batch, frames = recipe.clip_batch, recipe.clip_frames
        run.train_stage("vae-clips", vae, recipe.vae_clips, lambda: clip_loss(vae, images, batch, side, frames))
    return vae


def _text_encoder(run: TrainingRun, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> UMT5EncoderModel:
    """Train the text encoder as a classifier of motions, and return it without the heads."""
    torch.manual_seed(build.SEED)
    classifier = MotionClassifier(new_components.text_encoder(recipe.shape.model))
    run.train_stage("text", classifier, recipe.text, lambda: text_loss(classifier, tokenizer, recipe.text_batch))
    return classifier.encoder


def _transformer(run: TrainingRun, recipe: Recipe, model: PocketModel, images: ImageDataset) -> WanTransformer3DModel:
    """Train the transformer and return it; also write mean and deviation of the latents into the VAE's config."""
    torch.manual_seed(build.SEED)
    transformer = new_components.transformer(recipe.shape.model)
    initialise_transformer(transformer)
    cast(nn.Module, model.image_encoder).to(run.device)
    encoder = LatentEncoder(model.vae, model.image_processor, model.image_encoder)
    measured = run.folder / "latents-small"
    for size, views, schedule, batch, weight in (
        ("small", recipe.small_views, recipe.small, recipe.small_batch, 1.0),
        ("full", recipe.full_views, recipe.full, recipe.full_batch, recipe.full_first_frame_weight),
    ):
        folder = run.cache_latents(f"latents-{size}", views, images, encoder)

        def loss_of(folder: Path = folder, batch: int = batch, weight: float = weight) -> StepLoss:
            latents = LatentDataset(folder, *latent_statistics(measured), run.device)
            prompts = PromptEmbeddings(model.text_encoder, model.tokenizer, recipe.prompts_per_motion)
            return flow_loss(transformer, latents, prompts, batch, first_frame_weight=weight)

        run.train_stage(f"transformer-{size}", transformer, schedule, loss_of)
    if any(measured.glob("*.safetensors")):
        mean, std = latent_statistics(measured)
        model.vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    restore_attention_processors(transformer)
    return transformer


def main(arguments: list[str]) -> None:
    """Train with state folder, threads, device and recipe from the arguments, until the end or a signal."""
    folder, threads, device = [*arguments, *(str(STATE), "1", "cpu")[len(arguments) :]][:3]
    recipe = arguments[3] if len(arguments) > 3 else "cpu" if device == "cpu" else "gpu"
    torch.set_num_threads(int(threads))
    run = TrainingRun(Path(folder), show, device=torch.device(device))
    run.stop_on_signals()
    train(run, RECIPES[recipe])
    show("stopped: run it again to go on" if run.stop.is_set() else "done")


if __name__ == "__main__":
    main(sys.argv[1:])
