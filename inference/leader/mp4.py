"""Encode a video tensor as an mp4 file, and read the facts of such a file. Every rank 0 writes its videos by it."""

from collections.abc import Callable
from pathlib import Path

import av
import torch
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from msgspec import Struct

from contracts.job import FPS
from inference.wan.pixels import rgb_bytes

ENCODER_THREADS = 2  # the ranks beside this one need the cores
CRF = "18"  # hard to tell from lossless
PRESET = "veryfast"  # a third of medium's time for files of the same size
X264 = "mbtree=0"
"""x264's macroblock tree gives other files for the same frames on processors with AVX-512, up to one time in ten."""


class VideoFacts(Struct, frozen=True):
    """Sides in pixels, duration in seconds; `job_fingerprint` is the file's comment, None without one."""

    width: int
    height: int
    num_frames: int
    duration: float
    job_fingerprint: str | None


def write_mp4(
    video_CTHW: torch.Tensor, path: Path, on_frame: Callable[[int], None], *, job_fingerprint: str = ""
) -> None:
    """Write the video (3 × frames × height × width in [-1, 1], even sides, any device) as H.264 at 16 frames a second.

    It is encoded frame by frame: the whole video as bytes is never in memory. `on_frame(n)` is called once n frames are
    encoded. After any error, which may be one of `on_frame`, the file is gone; a full disk raises `OSError`.
    `job_fingerprint` goes into the file as its comment, so that a finished file says by itself what it was made of.
    """
    try:
        # faststart puts the index before the pictures, so that a browser can play before it has everything.
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.metadata["comment"] = job_fingerprint
            _encode(video_CTHW, container, on_frame)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _encode(video_CTHW: torch.Tensor, container: OutputContainer, on_frame: Callable[[int], None]) -> None:
    """Add the video to the container as a stream of H.264."""
    stream = container.add_stream("libx264", rate=FPS, options={"crf": CRF, "preset": PRESET, "x264-params": X264})
    stream.height, stream.width = video_CTHW.shape[2:]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = ENCODER_THREADS
    stream.codec_context.color_primaries = ColorPrimaries.BT709
    stream.codec_context.color_trc = ColorTrc.BT709
    stream.codec_context.colorspace = Colorspace.ITU709
    stream.codec_context.color_range = ColorRange.MPEG
    for count, picture_CHW in enumerate(video_CTHW.unbind(1), start=1):
        container.mux(stream.encode(_frame(picture_CHW)))
        on_frame(count)
    container.mux(stream.encode())


def _frame(picture_CHW: torch.Tensor) -> av.VideoFrame:
    """Return a picture in [-1, 1] as a frame of 8 bits, with half the colour's resolution (yuv420p)."""
    frame = av.VideoFrame.from_ndarray(rgb_bytes(picture_CHW), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)


def read_video_facts(path: Path) -> VideoFacts:
    """Read the facts from the file. Raises `ValueError` if the file is no video, `OSError` if it cannot be read."""
    with av.open(str(path)) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.duration is None or stream.time_base is None:
            raise ValueError(f"{path}: no video, or one that does not say how long it is")
        duration = float(stream.duration * stream.time_base)
        job_fingerprint = container.metadata.get("comment")
        return VideoFacts(stream.width, stream.height, stream.frames, duration, job_fingerprint)
