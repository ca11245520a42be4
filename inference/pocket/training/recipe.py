"""Training recipes: the hyper-parameters of `train` (CPU, GPU) and of `finish` (FINISH)."""

from dataclasses import dataclass, field, replace

from msgspec import structs

from inference.pocket.build import PocketShape
from inference.pocket.data.latent_dataset import Views
from inference.pocket.training.stage import Schedule


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of `train`. Changing the steps of a stage that has begun makes its learning rate jump."""

    pictures: int
    linear: Schedule
    vae_pictures: Schedule
    vae_clips: Schedule
    text: Schedule
    small_views: Views
    small: Schedule
    full_views: Views
    full: Schedule
    shape: PocketShape = field(default_factory=PocketShape)
    photos: bool = True
    measured: int = 64
    picture_batch: int = 8
    clip_batch: int = 2
    clip_frames: int = 9
    side: int = 64
    text_batch: int = 64
    prompts_per_motion: int = 100
    small_batch: int = 16
    full_batch: int = 4
    full_first_frame_weight: float = 60.0


CPU = Recipe(
    pictures=300,
    linear=Schedule(2000, 3e-3),
    vae_pictures=Schedule(3000, 6e-4),
    vae_clips=Schedule(1500, 4e-4),
    text=Schedule(2200, 4e-3),
    small_views=Views(count=400, sizes=((128, 80), (128, 80), (80, 128)), frames=13, motions=8),
    small=Schedule(7650, 1.2e-3, weight_decay=0.01),
    full_views=Views(count=104, sizes=((256, 144), (256, 144), (144, 256)), frames=25, motions=3),
    full=Schedule(4200, 6e-4, ema_decay=0.997, weight_decay=0.01),
)
"""Takes some hours of one core; MODEL_CARD.md says how many for each stage."""

GPU = replace(
    CPU,
    pictures=800,
    vae_pictures=Schedule(5000, 6e-4),
    vae_clips=Schedule(2500, 4e-4),
    small_views=structs.replace(CPU.small_views, count=800),
    small=Schedule(3000, 1.2e-3, weight_decay=0.01),
    full_views=structs.replace(CPU.full_views, count=600, motions=4),
    full=Schedule(3000, 1.2e-3, ema_decay=0.998, weight_decay=0.01),
    picture_batch=64,
    clip_batch=16,
    side=96,
    small_batch=256,
    full_batch=128,
)
"""Meant for 25 minutes of a GPU such as an H200."""

RECIPES = {"cpu": CPU, "gpu": GPU}


@dataclass(frozen=True)
class Finish:
    """Hyper-parameters of `finish`. If `views` has at most `pictures` entries, only the VAE sees photos."""

    pictures: int
    vae: Schedule
    views: Views
    transformer: Schedule
    batch: int
    clip_batch: int
    clip_frames: int
    side: int
    prompts_per_motion: int
    first_frame_weight: float = 60.0
    photos: bool = True


FINISH = Finish(
    pictures=800,
    vae=Schedule(900, 4e-4),
    views=structs.replace(CPU.full_views, count=600, motions=4),
    transformer=Schedule(2500, 1.2e-3, ema_decay=0.998, weight_decay=0.01),
    batch=128,
    clip_batch=16,
    clip_frames=9,
    side=96,
    prompts_per_motion=400,
)
"""Takes nine minutes of one H200, after `train` with CPU; MODEL_CARD.md says how many for each stage."""
