"""Whether a video does what was asked, told from its pixels alone. Knows no model and no words."""

import math

import torch

from inference.pocket.data.motions import KINDS, Kind, Motion, Speed, clip, shown_at_first


def recognise_motion(video_CTHW: torch.Tensor, picture_HWC: torch.Tensor, speed: Speed) -> Kind:
    """The motion whose true last frame is most like the video's, of all kinds at this speed; by chance 1 in 9.

    `picture_HWC` in uint8 is what the camera flies over; the video's first frame is its middle. Where a motion brings
    new things into view a video has to invent them, so that is no part of the comparison with this motion.
    """
    _, frames, height, width = video_CTHW.shape
    size = (width, height)

    def likeness(kind: Kind) -> float:
        motion = Motion(kind, speed)
        shown_HW = shown_at_first(motion, frames - 1, size)
        true_CHW = clip(picture_HWC, motion, frames, size)[:, -1]
        return correlation(video_CTHW[:, -1][:, shown_HW], true_CHW[:, shown_HW])

    return max(KINDS, key=likeness)


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of two pictures or parts of them, whatever their brightness and contrast: 1 for alike, 0 for unrelated."""
    one, other = (part - part.mean() for part in (one, other))
    return ((one * other).sum() / (one.norm() * other.norm() + 1e-6)).item()


def psnr_db(made: torch.Tensor, truth: torch.Tensor) -> float:
    """Of values in [-1, 1]: their range is 2."""
    return -10 * math.log10(((made.clamp(-1, 1) - truth) / 2).square().mean().item() + 1e-12)


def drift_px(video_CTHW: torch.Tensor) -> float:
    """How far the picture moves a frame, in pixels, from the first frame to the last, by phase correlation."""
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
    """Where the top of the parabola through three values lies, from the middle one."""
    before, top, after = peak_3.tolist()
    bend = before - 2 * top + after
    return 0.0 if bend == 0 else 0.5 * (before - after) / bend
