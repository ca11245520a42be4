"""Image dataset of a training: drawn pictures and photos, and random crops and clips of them.

The pictures are stored in the state folder as `pictures.npy`. `vae_training` draws crops and clips from the dataset,
`latent_dataset` encodes its pictures.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from inference.pocket.data.motions import MOTIONS, clip
from inference.pocket.data.photos import training_photos
from inference.pocket.data.pictures import picture
from inference.pocket.draws import draw_index
from inference.pocket.files import write_whole

WIDTH, HEIGHT = 512, 320
FILE = "pictures.npy"
# Share of photos among the crops: a photo shows more than a drawing, but there are few, and the model would overfit.
PHOTO_SHARE = 0.2
HALVED_SHARE = 0.4
# Pixels that a camera may need beyond each edge of its first frame.
MARGIN_PX = 32


@dataclass(frozen=True)
class ImageDataset:
    """Pictures as one tensor, count × height × width × 3 in uint8: the first `drawn` are drawings, the rest photos."""

    pictures: torch.Tensor
    drawn: int

    def to(self, device: torch.device) -> "ImageDataset":
        """Return a copy on `device`; a GPU then does not wait for crops to be cut on the CPU."""
        return ImageDataset(self.pictures.to(device), self.drawn)

    def crops(self, count: int, side: int, rng: torch.Generator) -> torch.Tensor:
        """Return random square crops: count × 3 × side × side in [-1, 1]. `side` is in pixels, at most `HEIGHT`."""
        return torch.stack([self._crop(side, rng) for _ in range(count)])

    def clips(self, count: int, side: int, frames: int, rng: torch.Generator) -> torch.Tensor:
        """Return random square crops along random motions: count × 3 × frames × side × side in [-1, 1].

        `side` is in pixels, at most `HEIGHT` - 2 · `MARGIN_PX`.
        """
        made: list[torch.Tensor] = []
        for _ in range(count):
            around = (self._crop(side + 2 * MARGIN_PX, rng).permute(1, 2, 0) + 1) * 127.5
            made.append(clip(around, MOTIONS[draw_index(len(MOTIONS), rng)], frames, (side, side)))
        return torch.stack(made)

    def _crop(self, side: int, rng: torch.Generator) -> torch.Tensor:
        """Return one random crop, 3 × side × side in [-1, 1]: mirrored, scaled to a half and from a photo at random."""
        photos = len(self.pictures) - self.drawn
        is_photo = photos > 0 and torch.rand((), generator=rng).item() < PHOTO_SHARE
        index = self.drawn + draw_index(photos, rng) if is_photo else draw_index(self.drawn, rng)
        halved = 2 * side <= HEIGHT and torch.rand((), generator=rng).item() < HALVED_SHARE
        cut = 2 * side if halved else side
        y, x = draw_index(HEIGHT - cut + 1, rng), draw_index(WIDTH - cut + 1, rng)
        crop_HWC = self.pictures[index, y : y + cut, x : x + cut].float()
        if torch.rand((), generator=rng).item() < 0.5:
            crop_HWC = crop_HWC.flip(1)
        crop_CHW = crop_HWC.permute(2, 0, 1) / 127.5 - 1
        return functional.avg_pool2d(crop_CHW, 2) if halved else crop_CHW


def open_images(
    folder: Path, count: int, *, photos: bool, show: Callable[[str], None], stopped: Callable[[], bool]
) -> ImageDataset:
    """Return the dataset in `folder`, after making it if it is missing; drawing some hundred pictures takes minutes.

    It has `count` drawings, and with `photos` the training photos; neither is looked at if the file exists. `show` is
    given lines of progress. Raises InterruptedError if `stopped()` becomes true meanwhile; nothing is then stored.
    Raises ModuleNotFoundError if the photos are not installed.
    """
    file = folder / FILE
    if not file.exists():
        photographs = training_photos(WIDTH, HEIGHT) if photos else []
        drawn: list[np.ndarray] = []
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for made in pool.map(lambda seed: picture(seed, WIDTH, HEIGHT), range(count)):
                if stopped():
                    pool.shutdown(cancel_futures=True)
                    raise InterruptedError("stopped while the pictures were drawn: they will be drawn again")
                drawn.append(made)
                if len(drawn) % 50 == 0:
                    show(f"pictures {len(drawn)}/{count}")
        pictures = np.stack(drawn + photographs)
        write_whole(file, lambda draft: _write(draft, pictures))
    return ImageDataset(torch.from_numpy(np.load(file, mmap_mode="c")), count)


def _write(draft: Path, pictures: np.ndarray) -> None:
    """Write the pictures in numpy's format to exactly this path."""
    with draft.open("wb") as file:  # given a path, numpy would append `.npy`
        np.save(file, pictures)
