"""What CLIP is shown of a picture, by either layout."""

import numpy as np
import pytest
import torch
from PIL import Image

from inference.wan.clip_pixels import WholePicture, clip_processor
from tests.kit.tiny import image

A = -0.75
FP32_MAX = 5e-4  # torch places the taps in fp32, which at a side of 1280 is some 2e-4 of a noisy picture
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


def weight(distance: np.ndarray) -> np.ndarray:
    """The cubic convolution of Keys 1981."""
    near = (A + 2) * distance**3 - (A + 3) * distance**2 + 1
    far = A * distance**3 - 5 * A * distance**2 + 8 * A * distance - 4 * A
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def resampling(length: int, side: int) -> np.ndarray:
    """The matrix that squashes a line of numbers by its four nearest ones, without a filter against aliasing."""
    matrix = np.zeros((side, length))
    for at in range(side):
        place = (at + 0.5) * length / side - 0.5
        first = int(np.floor(place)) - 1
        for tap in range(first, first + 4):
            matrix[at, min(max(tap, 0), length - 1)] += weight(np.array(abs(place - tap)))
    return matrix


def squashed(picture: Image.Image, side: int) -> np.ndarray:
    channels = np.moveaxis(np.asarray(picture, dtype=np.float64) / 255, -1, 0)
    squashed = resampling(picture.height, side) @ channels @ resampling(picture.width, side).T
    return (squashed - MEAN[:, None, None]) / STD[:, None, None]


@pytest.mark.parametrize("size", [(448, 448), (832, 480), (720, 1280), (100, 60), (224, 224)], ids=str)
def test_the_whole_picture_is_squashed_into_the_square(size: tuple[int, int]):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    seen = WholePicture(224)(images=picture, return_tensors="pt").pixel_values
    assert (seen.shape, seen.dtype) == ((1, 3, 224, 224), torch.float32)
    assert np.abs(seen[0].numpy() - squashed(picture, 224)).max() < FP32_MAX


def shown(processor, picture: Image.Image) -> torch.Tensor:
    return processor(images=picture, return_tensors="pt").pixel_values


def test_the_head_of_a_standing_person_is_seen_in_the_original_layout_alone():
    """diffusers' processor crops the centre of a portrait; this is how its folders say it."""
    plain, with_head = image(48, 84), image(48, 84)
    with_head.paste((255, 0, 0), (0, 0, 48, 12))
    assert torch.equal(shown(clip_processor(28), plain), shown(clip_processor(28), with_head))
    assert not torch.equal(shown(WholePicture(28), plain), shown(WholePicture(28), with_head))
