"""Metrics of a video, from its pixels alone: the motion that it shows, PSNR, and drift. Used by `evaluate`."""

import math

import torch

from inference.pocket.data.motions import KINDS, Kind, Motion, Speed, clip, shown_at_first


def recognise_motion(video_CTHW: torch.Tensor, picture_HWC: torch.Tensor, speed: Speed) -> Kind:
    """Return the kind of motion whose true last frame correlates best with the video's; by chance 1 in 9 is right.

    All kinds are tried at this speed. `picture_HWC` in uint8 is the scene; the video's first frame is its middle.
    Pixels that a motion brings into view are left out of the comparison with it, because a video has to invent them.
    """
    _, frames, height, width = video_CTHW.shape
    size = (width, height)

    def likeness(kind: Kind) -> float:
        """Return the correlation of the video's last frame with the true one, without the pixels that are new."""
        motion = Motion(kind, speed)
        shown_HW = shown_at_first(motion, frames - 1, size)
        true_CHW = clip(picture_HWC, motion, frames, size)[:, -1]
        return correlation(video_CTHW[:, -1][:, shown_HW], true_CHW[:, shown_HW])

    return max(KINDS, key=likeness)


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the Pearson correlation of two pictures: 1 for equal up to brightness and contrast, 0 for unrelated."""
    one, other = (part - part.mean() for part in (one, other))
    return ((one * other).sum() / (one.norm() * other.norm() + 1e-6)).item()


def psnr_db(made: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the PSNR, in dB, of `made` against `truth`, both in [-1, 1]; `made` is clamped first."""
    return -10 * math.log10(((made.clamp(-1, 1) - truth) / 2).square().mean().item() + 1e-12)


def drift_px(video_CTHW: torch.Tensor) -> float:
    """Return the video's mean motion in pixels per frame, by phase correlation of its first and last frame.

    A motion of more than half a side between the two is taken for a smaller one. The video needs two frames.
    """
    grey_THW = video_CTHW.mean(dim=0)
    _, height, width = grey_THW.shape
    window_HW = torch.hann_window(height)[:, None] * torch.hann_window(width)
    first, last = (torch.fft.fft2((grey - grey.mean()) * window_HW) for grey in (grey_THW[0], grey_THW[-1]))
    cross = first * last.conj()
    peaks_HW = torch.fft.ifft2(cross / (cross.abs() + 1e-9)).real
    y, x = divmod(int(peaks_HW.argmax()), width)
    down = _between(peaks_HW[:, x].roll(1 - y)[:3]) + (y if y <= height // 2 else y - height)
    across = _between(peaks_HW[y].roll(1 - x)[:3]) + (x if x <= width // 2 else x - width)
    return math.hypot(down, across) / (len(grey_THW) - 1)


def _between(peak_3: torch.Tensor) -> float:
    """Return the vertex of the parabola through three equidistant values, relative to the middle one."""
    before, top, after = peak_3.tolist()
    bend = before - 2 * top + after
    return 0.0 if bend == 0 else 0.5 * (before - after) / bend
