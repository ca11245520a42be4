"""Trains a model further: `python -m inference.pocket.training.finish FROM FOLDER STATE [THREADS [DEVICE]]`.

What hours of a CPU have begun, minutes of a GPU end, with more pictures, larger batches and larger crops: the VAE,
latents of it, then the transformer on them. The text and the image encoder stay as they are in the checkpoint FROM; the
new one is written to FOLDER. Stops and goes on as `train` does, with a state folder of its own.
"""

import hashlib
import sys
from pathlib import Path
from typing import cast

import torch
from torch import nn

from inference.pocket import build
from inference.pocket.build import Parts
from inference.pocket.data.latent_dataset import Encoder, Shelf
from inference.pocket.training.dit_training import Sayings, flow_loss, hear_as_others_do
from inference.pocket.training.export import halved
from inference.pocket.training.recipe import FINISH, Finish
from inference.pocket.training.run import Sitting, show
from inference.pocket.training.vae_training import clip_loss
from inference.pocket.whole_clip import whole_clips
from inference.wan.checkpoint.model_card import read_card


def finish(sitting: Sitting, recipe: Finish, parts: Parts) -> None:
    """These parts as far as they are trained, changed in place; what the folder holds is not done again."""
    vae, transformer, device = parts.vae, parts.transformer, sitting.device
    for module in (parts.text_encoder, parts.image_encoder):
        cast(nn.Module, module).to(device)
    sitting.claim(recipe.pictures, recipe.photos, recipe.views, _digest(vae, transformer))
    album = sitting.album(recipe.pictures, photos=recipe.photos)
    with whole_clips(vae):
        batch, side, frames = recipe.clip_batch, recipe.side, recipe.clip_frames
        sitting.bring("finish-vae", vae, recipe.vae, lambda: clip_loss(vae, album, batch, side, frames))
    encoder = Encoder(vae, parts.image_processor, parts.image_encoder)
    folder = sitting.shelve("finish-latents", recipe.views, album, encoder)
    # The old ones: the transformer is used to them, and the VAE has hardly moved.
    mean, std = (torch.tensor(vae.config[name]) for name in ("latents_mean", "latents_std"))
    sitting.bring(
        "finish-transformer",
        transformer,
        recipe.transformer,
        lambda: flow_loss(
            transformer,
            Shelf(folder, mean, std, device),
            Sayings(parts.text_encoder, parts.tokenizer, recipe.prompts_a_motion),
            recipe.batch,
            first_frame_weight=recipe.first_frame_weight,
        ),
    )
    hear_as_others_do(transformer)


def _digest(*modules: nn.Module) -> str:
    """Of weights: what has begun with some is not gone on with from others."""
    digest = hashlib.sha256()
    for module in modules:
        for parameter in module.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> None:
    if not 3 <= len(arguments) <= 5:
        raise SystemExit("usage: python -m inference.pocket.training.finish FROM FOLDER STATE [THREADS [DEVICE]]")
    begun, folder, state, threads, device = [*arguments, *("1", "cpu")[len(arguments) - 3 :]]
    if Path(folder).exists():
        raise SystemExit(f"{folder} is there already; remove it first")
    torch.set_num_threads(int(threads))
    sitting = Sitting(Path(state), show, device=torch.device(device))
    sitting.stop_when_told()
    parts = build.read(Path(begun))
    finish(sitting, FINISH, parts)
    if sitting.stop.is_set():
        show("stopped: run it again to go on")
        return
    build.write(Path(folder), lambda: halved(parts), read_card(Path(begun)))
    show(f"done: {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
