"""Camera motions that the pocket model learns, and clips that show a picture along a motion.

A motion is the camera's: with `left` the camera turns left, and the picture slides to the right. The dataset renders
clips to train on; `metrics` renders clips to compare with.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import torch
from torch.nn import functional

Kind = Literal["still", "left", "right", "up", "down", "in", "out", "clockwise", "counterclockwise"]
Speed = Literal["slow", "normal", "fast"]

KINDS: tuple[Kind, ...] = get_args(Kind)
SPEEDS: tuple[Speed, ...] = get_args(Speed)
PANS: tuple[Kind, ...] = ("left", "right", "up", "down")

# Pixels per frame. Four frames are one latent frame and eight pixels one latent cell, so pans are a half, one or two
# cells per latent frame.
PAN_PX = {"slow": 1.0, "normal": 2.0, "fast": 4.0}
# Scale per frame: the edge of a 256-pixel picture moves about as fast as in a pan.
ZOOM_RATIO = {"slow": 1.0075, "normal": 1.015, "fast": 1.03}
ROTATION_DEGREES = {"slow": 0.43, "normal": 0.86, "fast": 1.72}

TOWARDS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Motion:
    """A camera motion and its speed; `still` has no speed."""

    kind: Kind
    speed: Speed = "normal"


MOTIONS = (Motion("still"), *(Motion(kind, speed) for kind, speed in product(KINDS[1:], SPEEDS)))
"""All different motions; `still` has one speed only."""


def clip(picture_HWC: torch.Tensor, motion: Motion, frames: int, size: tuple[int, int]) -> torch.Tensor:
    """Return a camera's view of the picture, starting at its middle: 3 × frames × height × width in [-1, 1].

    `picture_HWC` has values from 0 to 255; the clip is on its device. It should be larger than `size` (width, height):
    it is mirrored past its edges.
    """
    source_CHW = picture_HWC.permute(2, 0, 1).float() / 127.5 - 1
    height, width = source_CHW.shape[1:]
    with picture_HWC.device:
        points = torch.stack([_points(motion, frame, size) for frame in range(frames)])
        # grid_sample has the source's outer edges at -1 and 1.
        grid = 2 * points / torch.tensor([width, height])
    video_TCHW = functional.grid_sample(
        source_CHW.expand(frames, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
    return video_TCHW.transpose(0, 1)


def shown_at_first(motion: Motion, frame: int, size: tuple[int, int]) -> torch.Tensor:
    """Return a mask, height × width, of the frame's pixels that show a point of the first frame; the others are new.

    `frame` is counted from 0; `size` is (width, height).
    """
    return (_points(motion, frame, size).abs() <= torch.tensor(size) / 2).all(dim=-1)


def _points(motion: Motion, frame: int, size: tuple[int, int]) -> torch.Tensor:
    """Return the point that each pixel of a frame shows, relative to the picture's middle: height × width × (x, y)."""
    width, height = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5 - height / 2, torch.arange(width) + 0.5 - width / 2, indexing="ij")
    at = torch.stack([x, y], dim=-1)
    match motion.kind:
        case "still":
            return at
        case "in":
            return at / ZOOM_RATIO[motion.speed] ** frame
        case "out":
            return at * ZOOM_RATIO[motion.speed] ** frame
        case "clockwise":
            return at @ _turn(-frame * ROTATION_DEGREES[motion.speed])
        case "counterclockwise":
            return at @ _turn(frame * ROTATION_DEGREES[motion.speed])
        case _:
            return at + frame * PAN_PX[motion.speed] * torch.tensor(TOWARDS[motion.kind], dtype=torch.float32)


def _turn(degrees: float) -> torch.Tensor:
    """Return the matrix that turns row vectors clockwise on screen, where y points down."""
    angle = math.radians(degrees)
    return torch.tensor([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
