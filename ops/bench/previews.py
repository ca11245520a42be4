"""Measures what previews show and what they and the pictures of a video cost: `python -m ops.bench.previews`.

Two videos of the pocket model, with a preview after every step. The PSNR is that of a preview against the middle of the
finished video, averaged over 8 × 8 pixels and over the four frames that one latent frame stands for. Times are of one
core's CPU, which other load on the machine does not change.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import torch
from PIL import ImageOps
from torch.nn import functional

from contracts.job import Job, parse_size
from contracts.video_files import Variant
from inference.leader.pictures import pictures_of_tensor
from inference.leader.previews import preview_of
from inference.pocket import POCKET_FOLDER
from inference.wan.generate import Picture, generate
from inference.wan.load import Wan, load
from inference.wan.pixels import rgb_bytes
from inference.wan.vae.codec import SPATIAL_STRIDE, TEMPORAL_STRIDE
from inference.wan.vae.latent_rgb import fit
from ops.bench.picture import film
from ops.bench.turns import say
from ops.local.sample_image import landscape

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
PROMPTS = ("the camera pans left", "rotate clockwise")
STEPS = 40
JOB = Job(prompt=PROMPTS[0], seed=1, num_frames=25, infer_steps=STEPS, guidance_scale=1.5)
SHOWN_AT = (STEPS // 4, STEPS // 2, 3 * STEPS // 4, STEPS)
FILMS = (("256*144", 25), ("832*480", 81), ("1280*720", 81))
COUNT = 5


class Watcher:
    """The previews of a video by step, and how long each step, each preview and each message took."""

    def __init__(self) -> None:
        self.pictures: dict[int, Picture] = {}
        self.step_s, self.made_s, self.packed_s, self.bytes = [list[float]() for _ in range(4)]
        self._began = time.thread_time()

    def boundary(self, stage: str, step: int) -> None:
        """Note how long the step took, without its preview."""
        now = time.thread_time()
        if stage == "denoise" and step > 0:
            self.step_s.append(now - self._began - self.made_s[-1] - self.packed_s[-1])
        self._began = now

    def offer(self, step: int, make_preview: Callable[[], Picture | None]) -> None:
        """Make the preview and its message."""
        began = time.thread_time()
        picture = make_preview()
        made = time.thread_time()
        assert picture is not None
        preview = preview_of(picture, job_id="0" * 32, attempt=1, step=step, steps=STEPS)
        assert preview is not None
        self.pictures[step] = picture
        self.made_s.append(made - began)
        self.packed_s.append(time.thread_time() - made)
        self.bytes.append(len(preview.image))


def watched(wan: Wan, prompt: str) -> tuple[Watcher, Picture]:
    """Return what was seen of a video while it was made, and what its previews are set against."""
    watcher, image = Watcher(), ImageOps.fit(landscape(), parse_size(wan.card.default_size))
    asked = msgspec.structs.replace(JOB, prompt=prompt)
    video_CTHW = generate(wan, asked, image, watcher.boundary, offer_preview=watcher.offer)
    middle = (1 + (asked.num_frames - 1) // TEMPORAL_STRIDE) // 2
    last = TEMPORAL_STRIDE * middle
    frame_CHW = video_CTHW[:, last - TEMPORAL_STRIDE + 1 : last + 1].mean(1)
    return watcher, rgb_bytes(functional.avg_pool2d(frame_CHW, SPATIAL_STRIDE))


def psnr_db(picture: Picture, target: Picture) -> float:
    """Return the peak signal-to-noise ratio of a picture of bytes."""
    return float(10 * np.log10(255**2 / np.mean((picture.astype(float) - target) ** 2)))


def main() -> None:
    """Measure, print the tables, and leave them in `RESULTS`."""
    wan = load(POCKET_FOLDER, CPU)
    began = time.thread_time()
    wan = replace(wan, latent_rgb=fit(wan.vae))
    assert wan.latent_rgb is not None
    fitted = f"{wan.latent_rgb.psnr_db:.1f} dB on latent pixels it was not fitted to"
    lines = [f"the map: {fitted}, fitted in {time.thread_time() - began:.2f} s", ""]
    seen = [watched(wan, prompt) for prompt in PROMPTS]
    lines += [f"{'preview after step':<22}" + "".join(f"{step:>8}" for step in SHOWN_AT)]
    for prompt, (watcher, target) in zip(PROMPTS, seen, strict=True):
        figures = (psnr_db(watcher.pictures[step], target) for step in SHOWN_AT)
        lines.append(f"{prompt:<22}" + "".join(f"{db:>5.1f} dB" for db in figures))
    lines += ["", *_costs([watcher for watcher, _ in seen]), "", *_pictures()]
    text = "\n".join([*lines, ""])
    (RESULTS / "previews.txt").write_text(text)
    sys.stdout.write(text)


def _costs(watchers: list[Watcher]) -> list[str]:
    """Return what a preview costs: between two steps, and in another thread."""
    step_s, made_s, packed_s, sizes = (
        median(value for watcher in watchers for value in getattr(watcher, name))
        for name in ("step_s", "made_s", "packed_s", "bytes")
    )
    return [
        f"a step: {1e3 * step_s:.1f} ms",
        f"a preview, between two steps: {1e3 * made_s:.2f} ms, {made_s / step_s:.2%} of a step",
        f"its message, in another thread: {1e3 * packed_s:.2f} ms, {sizes:.0f} characters",
    ]


def _pictures() -> list[str]:
    """Return what the pictures of finished videos take."""
    lines: list[str] = []
    for size, frames in FILMS:
        video_CTHW = film(*parse_size(size), frames)[0]
        took_s, made = list[float](), dict[Variant, bytes]()
        for _ in range(COUNT):
            began = time.thread_time()
            made = pictures_of_tensor(video_CTHW)
            took_s.append(time.thread_time() - began)
        sizes = ", ".join(f"{variant} {len(content) / 1e3:.0f} kB" for variant, content in made.items())
        lines.append(f"pictures of {size}×{frames}: {1e3 * median(took_s):.0f} ms, {sizes}")
        say(lines[-1])
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
