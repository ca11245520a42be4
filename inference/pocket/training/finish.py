"""Trains a checkpoint further: `python -m inference.pocket.training.finish FROM FOLDER STATE [THREADS [DEVICE]]`.

Minutes on a GPU continue the hours on a CPU, with more pictures, larger batches and larger crops: first the VAE, then
its latents are cached, then the transformer trains on them. Text and image encoder stay as in the checkpoint FROM; the
new checkpoint is written to FOLDER. Stops and resumes as `train` does, with a state folder of its own.
"""

import hashlib
import sys
from pathlib import Path
from typing import cast

import torch
from torch import nn

from inference.pocket import build
from inference.pocket.build import PocketModel
from inference.pocket.data.latent_dataset import LatentDataset, LatentEncoder
from inference.pocket.training.dit_training import PromptEmbeddings, flow_loss, restore_attention_processors
from inference.pocket.training.export import to_fp16
from inference.pocket.training.recipe import FINISH, Finish
from inference.pocket.training.run import TrainingRun, show
from inference.pocket.training.vae_training import clip_loss
from inference.pocket.whole_clip import whole_clips
from inference.wan.checkpoint.model_card import read_card


def finish(run: TrainingRun, recipe: Finish, model: PocketModel) -> None:
    """Train VAE and transformer of `model` in place, or load those stages that the state folder already holds.

    All models end on the run's device. Once the run is stopped, stages that have not begun keep their weights. Raises
    ValueError if the state folder was begun with other data or another model, and InterruptedError if the run is
    stopped while pictures are drawn.
    """
    vae, transformer, device = model.vae, model.transformer, run.device
    for module in (model.text_encoder, model.image_encoder):
        cast(nn.Module, module).to(device)
    run.claim_folder(recipe.pictures, recipe.photos, recipe.views, _digest(vae, transformer))
    images = run.images(recipe.pictures, photos=recipe.photos)
    with whole_clips(vae):
        batch, side, frames = recipe.clip_batch, recipe.side, recipe.clip_frames
        run.train_stage("finish-vae", vae, recipe.vae, lambda: clip_loss(vae, images, batch, side, frames))
    encoder = LatentEncoder(vae, model.image_processor, model.image_encoder)
    folder = run.cache_latents("finish-latents", recipe.views, images, encoder)
    # The old statistics: the transformer was trained with them, and the VAE's latents have hardly changed.
    mean, std = (torch.tensor(vae.config[name]) for name in ("latents_mean", "latents_std"))
    run.train_stage(
        "finish-transformer",
        transformer,
        recipe.transformer,
        lambda: flow_loss(
            transformer,
            LatentDataset(folder, mean, std, device),
            PromptEmbeddings(model.text_encoder, model.tokenizer, recipe.prompts_per_motion),
            recipe.batch,
            first_frame_weight=recipe.first_frame_weight,
        ),
    )
    restore_attention_processors(transformer)


def _digest(*modules: nn.Module) -> str:
    """Return the SHA-256 of the weights, in hex, so that a state folder is never resumed with a different model."""
    digest = hashlib.sha256()
    for module in modules:
        for parameter in module.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> None:
    """Train the checkpoint further as the arguments say, and write the new one unless the training is stopped.

    Ends the process with the usage or a sentence if FOLDER exists.
    """
    if not 3 <= len(arguments) <= 5:
        raise SystemExit("usage: python -m inference.pocket.training.finish FROM FOLDER STATE [THREADS [DEVICE]]")
    begun, folder, state, threads, device = [*arguments, *("1", "cpu")[len(arguments) - 3 :]]
    if Path(folder).exists():
        raise SystemExit(f"{folder} is there already; remove it first")
    torch.set_num_threads(int(threads))
    run = TrainingRun(Path(state), show, device=torch.device(device))
    run.stop_on_signals()
    model = build.read(Path(begun))
    finish(run, FINISH, model)
    if run.stop.is_set():
        show("stopped: run it again to go on")
        return
    build.write(Path(folder), lambda: to_fp16(model), read_card(Path(begun)))
    show(f"done: {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
