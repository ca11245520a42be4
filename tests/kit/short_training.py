"""A training of the pocket model that takes seconds. Imports torch."""

from pathlib import Path

import torch

from inference.pocket.build import PocketModel, PocketShape
from inference.pocket.data.latent_dataset import Views
from inference.pocket.training.recipe import Recipe
from inference.pocket.training.run import TrainingRun
from inference.pocket.training.stage import Schedule
from inference.pocket.training.train import train
from inference.wan.checkpoint.model_card import ModelCard

SMALL = PocketShape(
    card=ModelCard(name="small", sizes=["64*48", "48*64"], default_size="64*48"),
    vae_dim=12,  # the linear codec takes 33 channels of the last level
    vae_dim_mult=(1, 2, 3, 3),
    layers=2,
    heads=2,
    text_dim=32,
    image_dim=16,
    image_side=28,
)

SECONDS = Recipe(
    pictures=3,
    photos=False,
    linear=Schedule(6, 3e-3),
    vae_pictures=Schedule(3, 6e-4),
    vae_clips=Schedule(2, 4e-4),
    text=Schedule(3, 4e-3),
    small_views=Views(2, ((64, 48), (48, 64)), frames=5, motions=2),
    small=Schedule(3, 1e-3),
    full_views=Views(1, ((64, 48),), frames=9, motions=2),
    full=Schedule(2, 1e-3),
    shape=SMALL,
    side=32,
    measured=4,
    picture_batch=2,
    clip_batch=1,
    clip_frames=5,
    text_batch=4,
    prompts_per_motion=1,
    small_batch=2,
    full_batch=1,
)


def learn(folder: Path, recipe: Recipe = SECONDS) -> tuple[PocketModel, list[str]]:
    """Train in this folder, and return the trained parts and every line that training printed."""
    said: list[str] = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(TrainingRun(folder, said.append), recipe), said
    finally:
        torch.set_num_threads(before)
