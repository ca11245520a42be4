"""Latent dataset: clips and their first frames as latents, on which the transformer trains.

Stored in the state folder with one file per picture: the condition that all its clips share, the picture's CLIP
embedding, and one clip for each of some motions. `run` writes the files, `dit_training` draws batches from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from msgspec import Struct
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from inference.pocket import whole_clip
from inference.pocket.data.image_dataset import HEIGHT, WIDTH, ImageDataset
from inference.pocket.data.motions import MOTIONS, PANS, Motion, clip
from inference.pocket.draws import draw_index
from inference.pocket.files import write_whole
from inference.wan.encode import encode_image
from inference.wan.pixels import rgb_bytes

MEASURED_FILES = 32
# Weight of rotations and zooms among the drawn motions: they are harder to learn than pans.
HARD_WEIGHT = 2.0


class Views(Struct, frozen=True):
    """Number of pictures, their sizes (taken in turn), frames per clip, and clips (one per motion) per picture."""

    count: int
    sizes: tuple[tuple[int, int], ...]
    frames: int
    motions: int


@dataclass(frozen=True)
class LatentEncoder:
    """The models that encode pixels; none of them is trained while it encodes."""

    vae: AutoencoderKLWan
    image_processor: CLIPImageProcessorPil
    image_encoder: CLIPVisionModel


def write_latents(folder: Path, views: Views, images: ImageDataset, encoder: LatentEncoder) -> Iterator[int]:
    """Write the files that are missing into `folder`, without gradients, and yield each one's number.

    A file depends on its number, the images and the VAE: train the VAE to its end first.
    """
    with whole_clip.whole_clips(encoder.vae), torch.no_grad():
        for number in range(views.count):
            file = folder / f"{number:05}.safetensors"
            if not file.exists():
                tensors = _view(number, views, images, encoder)
                write_whole(file, lambda draft, tensors=tensors: save_file(tensors, draft))
                yield number


def _view(number: int, views: Views, images: ImageDataset, encoder: LatentEncoder) -> dict[str, torch.Tensor]:
    """Encode one picture along some random motions; return the tensors of its file, on the CPU.

    They are `clips`, `condition` and `image` in fp16, and `motions`. The same number gives the same file.
    """
    rng = torch.Generator().manual_seed(number)
    size = views.sizes[number % len(views.sizes)]
    picture_HWC = images.pictures[number % len(images.pictures)]
    if number // len(images.pictures) % 2:
        picture_HWC = picture_HWC.flip(1)
    # Half of the small videos show as much of the scene as large ones.
    if 2 * size[0] <= WIDTH // 2 and 2 * size[1] <= HEIGHT // 2 and torch.rand((), generator=rng) < 0.5:
        picture_HWC = picture_HWC.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).float().mean(dim=(1, 3))
    weights = torch.tensor([1.0 if motion.kind in PANS else HARD_WEIGHT for motion in MOTIONS])
    chosen = torch.multinomial(weights, views.motions, generator=rng)
    clips = [_encode(encoder.vae, clip(picture_HWC, MOTIONS[m], views.frames, size)) for m in chosen.tolist()]
    first_CTHW = clip(picture_HWC, Motion("still"), views.frames, size)
    image = Image.fromarray(rgb_bytes(first_CTHW[:, 0]))
    first_CTHW[:, 1:] = 0
    return {
        "clips": torch.stack(clips),
        "motions": chosen,
        "condition": _encode(encoder.vae, first_CTHW),
        "image": _look(encoder, image),
    }


def _encode(vae: AutoencoderKLWan, video_CTHW: torch.Tensor) -> torch.Tensor:
    """Return the latents of one video in fp16, on the CPU.

    Encoded in fp32: bf16 would put an error above one per cent into the training's targets.
    """
    return whole_clip.encode(vae, video_CTHW[None])[0][0].half().cpu().contiguous()


def _look(encoder: LatentEncoder, image: Image.Image) -> torch.Tensor:
    """Return the picture's CLIP embedding in fp16, on the CPU: (patches + 1) × D."""
    return encode_image(encoder.image_processor, encoder.image_encoder, image)[0].half().cpu()


def latent_statistics(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation of each latent channel, `latents_mean` and `latents_std` of the VAE's configuration.

    Measured are the clips of the folder's first `MEASURED_FILES`; it must have one.
    """
    clips_NCX = torch.cat([_tensor(file, "clips").float().flatten(2) for file in _files(folder)[:MEASURED_FILES]])
    return clips_NCX.mean(dim=(0, 2)), clips_NCX.std(dim=(0, 2))


def _files(folder: Path) -> list[Path]:
    """Return the latent files of a folder in the order of their numbers."""
    return sorted(folder.glob("*.safetensors"))


def _tensor(file: Path, name: str) -> torch.Tensor:
    """Return one tensor of a file, on the CPU."""
    with safe_open(file, "pt") as kept:
        return kept.get_tensor(name)


@dataclass(frozen=True)
class Batch:
    """Normalised latents of clips and first frames, indices of the motions in `MOTIONS`, and CLIP embeddings."""

    clips_BCTHW: torch.Tensor
    first_BCTHW: torch.Tensor
    motions: list[int]
    images_BLD: torch.Tensor


class LatentDataset:
    """Holds the latents of a folder in the device's memory, some hundred megabytes, for one stage of training."""

    def __init__(self, folder: Path, mean: torch.Tensor, std: torch.Tensor, device: torch.device) -> None:
        files = _files(folder)
        self._views = [load_file(file, str(device)) for file in files]
        self._motions = [_tensor(file, "motions").tolist() for file in files]
        self._mean, self._std = (values.to(device).view(-1, 1, 1, 1) for values in (mean, std))

    def draw(self, count: int, rng: torch.Generator) -> Batch:
        """Return a random batch of `count` clips, all of the size of the first that is drawn, in fp32."""
        drawn: list[tuple[int, int]] = []  # index of the view, and of the clip in the view
        while len(drawn) < count:
            view = draw_index(len(self._views), rng)
            if not drawn or self._size(view) == self._size(drawn[0][0]):
                drawn.append((view, draw_index(len(self._motions[view]), rng)))
        return Batch(
            clips_BCTHW=self._normal(torch.stack([self._views[view]["clips"][index] for view, index in drawn])),
            first_BCTHW=self._normal(torch.stack([self._views[view]["condition"] for view, _ in drawn])),
            motions=[self._motions[view][index] for view, index in drawn],
            images_BLD=torch.stack([self._views[view]["image"] for view, _ in drawn]).float(),
        )

    def _size(self, view: int) -> torch.Size:
        """Return the shape of a view's latents, C × T × H × W."""
        return self._views[view]["condition"].shape

    def _normal(self, latents_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return latents in fp32, normalised to mean 0 and deviation 1 by the dataset's statistics."""
        return (latents_BCTHW.float() - self._mean) / self._std
