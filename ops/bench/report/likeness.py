"""How like an exact video another one is, as figures and as rows of a table. Knows no model."""

from statistics import fmean

import torch
from msgspec import Struct
from torch.nn import functional

from inference.pocket.evaluation.metrics import psnr_db

SSIM_WINDOW_PX = 7
# Of values in [0, 1]; from the paper.
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
DB_MAX = 60.0  # what is alike to the last bit has no end of them
HEAD = ("variant", "set against", "PSNR, dB", "lowest", "SSIM", "attention computed")


class Likeness(Struct, frozen=True):
    """Of one video."""

    psnr_db: float
    ssim: float


class Row(Struct, frozen=True):
    """A variant, set against the exact run of `steps`, over several videos.

    `attention` is the share of the exact run's self-attention that it computes.
    """

    name: str
    steps: int
    attention: float
    videos: list[Likeness]

    @property
    def psnr_db(self) -> float:
        return fmean(video.psnr_db for video in self.videos)

    @property
    def lowest_db(self) -> float:
        return min(video.psnr_db for video in self.videos)

    @property
    def ssim(self) -> float:
        return fmean(video.ssim for video in self.videos)


def likeness(made: torch.Tensor, exact: torch.Tensor) -> Likeness:
    """Of two videos in [-1, 1], channels × frames × height × width."""
    return Likeness(min(DB_MAX, psnr_db(made, exact)), ssim(made, exact))


def ssim(made: torch.Tensor, exact: torch.Tensor) -> float:
    """Of the frames in grey, with a square window; 1 for alike. Source: Wang et al. 2004."""
    one, other = ((video.mean(dim=0)[:, None] + 1) / 2 for video in (made, exact))

    def mean(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, SSIM_WINDOW_PX, 1)

    mean_one, mean_other = mean(one), mean(other)
    spread_one, spread_other = mean(one * one) - mean_one**2, mean(other * other) - mean_other**2
    both = mean(one * other) - mean_one * mean_other
    alike = (2 * mean_one * mean_other + SSIM_C1) * (2 * both + SSIM_C2)
    return (alike / ((mean_one**2 + mean_other**2 + SSIM_C1) * (spread_one + spread_other + SSIM_C2))).mean().item()


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *map(_cells, rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.steps} steps",
        decibels(row.psnr_db),
        decibels(row.lowest_db),
        f"{row.ssim:.3f}",
        f"{100 * row.attention:.0f} %",
    )


def decibels(value: float) -> str:
    return f"{value:.1f}" if value < DB_MAX else f"{DB_MAX:.0f}+"
