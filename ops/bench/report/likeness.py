"""Compares videos with an exact one by PSNR and SSIM, and shows the figures as a Markdown table. `quality` uses it."""

from statistics import fmean

import torch
from msgspec import Struct
from torch.nn import functional

from inference.pocket.evaluation.metrics import psnr_db

SSIM_WINDOW_PX = 7
# The paper's constants for values in [0, 1].
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
DB_MAX = 60.0  # shown instead of the infinite PSNR of equal videos
HEAD = ("variant", "set against", "PSNR, dB", "lowest", "SSIM", "attention computed")


class Likeness(Struct, frozen=True):
    """The likeness of a video to the exact video."""

    psnr_db: float
    ssim: float


class QualityRow(Struct, frozen=True):
    """A variant against the exact run of `steps` steps, over several videos.

    `attention` is the share of the exact run's self-attention that the variant computes.
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
    """Return PSNR (at most `DB_MAX`) and SSIM of two videos in [-1, 1], channels × frames × height × width."""
    return Likeness(min(DB_MAX, psnr_db(made, exact)), ssim(made, exact))


def ssim(made: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the mean SSIM of the grey frames, with a square window; 1 for equal videos. Source: Wang et al. 2004.

    Both are in [-1, 1], channels × frames × height × width.
    """
    a, b = ((video.mean(dim=0)[:, None] + 1) / 2 for video in (made, exact))

    def mean(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, SSIM_WINDOW_PX, 1)

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + SSIM_C1) * (2 * both + SSIM_C2)
    return (alike / ((mean_a**2 + mean_b**2 + SSIM_C1) * (spread_a + spread_b + SSIM_C2))).mean().item()


def table(rows: list[QualityRow]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *map(_cells, rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: QualityRow) -> tuple[str, ...]:
    """Return a row's cells under `HEAD`."""
    return (
        row.name,
        f"{row.steps} steps",
        decibels(row.psnr_db),
        decibels(row.lowest_db),
        f"{row.ssim:.3f}",
        f"{100 * row.attention:.0f} %",
    )


def decibels(value: float) -> str:
    """Return a PSNR as text, `60+` from `DB_MAX` on."""
    return f"{value:.1f}" if value < DB_MAX else f"{DB_MAX:.0f}+"
