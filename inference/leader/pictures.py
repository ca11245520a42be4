"""Make the pictures of a video as WebP: a thumbnail of one good frame, and a spritesheet, a grid of frames in order.

`AttemptRunner` makes them of the tensor beside the mp4, and `JobVideos` of the mp4 if an earlier attempt has left that
without them.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from contracts.process import log
from contracts.video_files import Variant
from inference.wan.pixels import rgb_bytes

THUMBNAIL_SIDE_MAX = 512
SPRITES_ACROSS, SPRITES_DOWN = 4, 4
SPRITE_SIDE_MAX = 160
SPRITES = SPRITES_ACROSS * SPRITES_DOWN
QUALITY = 80
"""WebP's, of 100: at these sizes hard to tell from the frame."""


def pictures_of_tensor(video_CTHW: torch.Tensor) -> dict[Variant, bytes]:
    """Return the pictures of a video in [-1, 1], on any device, by their variants."""
    chosen = _chosen(video_CTHW.shape[1])
    stride = max(
        1, max(video_CTHW.shape[2:]) // (2 * SPRITE_SIDE_MAX)
    )  # most of a frame would be converted for nothing
    smaller = (functional.avg_pool2d(video_CTHW[:, number].float(), stride) for number in chosen)
    return _pictures(map(_image, smaller), lambda at: _image(video_CTHW[:, chosen[at]]))


def pictures_if_possible(video_CTHW: torch.Tensor) -> dict[Variant, bytes]:
    """Return what `pictures_of_tensor` does; nothing if they cannot be made, which is logged."""
    try:
        return pictures_of_tensor(video_CTHW)
    except Exception as error:  # noqa: BLE001  # whatever it is, the video is there
        log.get().warning("pictures_not_made", error=repr(error))
        return {}


def pictures_of_mp4(path: Path) -> dict[Variant, bytes]:
    """Return the pictures of a video's file, by their variants. Raises `ValueError` or `OSError` if it is no video."""
    return _pictures(_frames_of(path), lambda at: next(islice(_frames_of(path), at, None)))


def _image(picture_CHW: torch.Tensor) -> Image.Image:
    return Image.fromarray(rgb_bytes(picture_CHW))


def _frames_of(path: Path) -> Iterator[Image.Image]:
    """Yield the chosen frames of a video's file."""
    with av.open(str(path)) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise ValueError(f"{path}: no video")
        chosen = _chosen(stream.frames)
        for number, frame in enumerate(container.decode(stream)):
            for _ in range(chosen.count(number)):
                yield frame.to_image()


def _chosen(count: int) -> list[int]:
    """Return the numbers of the frames of the spritesheet, from the first to the last of `count` frames."""
    return [round(at * (count - 1) / (SPRITES - 1)) for at in range(SPRITES)]


def _pictures(frames: Iterable[Image.Image], frame_at: Callable[[int], Image.Image]) -> dict[Variant, bytes]:
    """Return the pictures of the chosen frames, of which `frame_at` returns one in full size.

    The thumbnail is the frame with the most detail.
    """
    sprites = [_shrunk(frame, SPRITE_SIDE_MAX) for frame in frames]
    best = max(range(len(sprites)), key=lambda at: _detail(sprites[at]))
    return {"thumbnail": _webp(_shrunk(frame_at(best), THUMBNAIL_SIDE_MAX)), "spritesheet": _webp(_grid(sprites))}


def _shrunk(frame: Image.Image, side_max: int) -> Image.Image:
    """Return the frame, which is no longer needed as it is, with its longer side at most `side_max`."""
    frame.thumbnail((side_max, side_max), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return frame


def _detail(picture: Image.Image) -> float:
    """Return how much neighbouring pixels differ: little in a dark, a blurred or an empty picture."""
    grey_HW = np.asarray(picture.convert("L"), dtype=np.float32)
    return float(np.abs(np.diff(grey_HW, axis=0)).mean() + np.abs(np.diff(grey_HW, axis=1)).mean())


def _grid(sprites: list[Image.Image]) -> Image.Image:
    """Return the sprites in rows of `SPRITES_ACROSS`."""
    width, height = sprites[0].size
    grid = Image.new("RGB", (width * SPRITES_ACROSS, height * SPRITES_DOWN))
    for at, sprite in enumerate(sprites):
        row, column = divmod(at, SPRITES_ACROSS)
        grid.paste(sprite, (column * width, row * height))
    return grid


def _webp(picture: Image.Image) -> bytes:
    """Return the picture as WebP."""
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY)
    return content.getvalue()
