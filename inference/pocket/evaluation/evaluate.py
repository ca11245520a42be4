"""Measure a pocket model on unseen pictures: `python -m inference.pocket.evaluation.evaluate [FOLDER [CASES]]`.

Five held-out photographs and three held-out drawings; every motion on each of them, with a job's own defaults but 25
frames and 20 steps. All of it takes half an hour on one core. Needs the extra `train` for the photographs.
"""

import sys
import time
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from random import Random

import msgspec
import torch
from PIL import Image
from torch.nn import functional

from contracts.job import Job
from inference.pocket import POCKET_FOLDER
from inference.pocket.data.image_dataset import HEIGHT, WIDTH
from inference.pocket.data.motions import KINDS, PANS, Kind, Motion
from inference.pocket.data.photos import HELD_OUT, held_out_photos
from inference.pocket.data.pictures import picture
from inference.pocket.data.prompts import prompt
from inference.pocket.evaluation.metrics import drift_px, psnr_db, recognise_motion
from inference.wan.generate import generate
from inference.wan.load import Wan, load
from inference.wan.pixels import values
from inference.wan.vae import codec

# Seeds far from those of any images.
HELD_OUT_SEED = 1_000_000
YARDSTICK_PICTURES = 16
DRAWINGS = 3
SIZE = (256, 144)
JOB = Job(prompt="0123456789", seed=1, num_frames=25, infer_steps=20)
CASES = (len(HELD_OUT) + DRAWINGS) * len(KINDS)
# Of the yardstick: as many numbers per 8 × 8 pixels as a Wan VAE has for a picture.
BLOCK, COMPONENTS = 8, 16
# After this long the figures are those of the cases so far.
CASES_S_MAX = 2 * 3600.0


@dataclass(frozen=True)
class Case:
    """One video, and what it should have been."""

    motion: Motion
    seen: Kind
    first_frame_db: float
    limit_db: float
    drift_px: float


def evaluate_case(
    wan: Wan, picture_HWC: torch.Tensor, motion: Motion, text: str, *, size: tuple[int, int] = SIZE
) -> Case:
    """A video of the picture's centre_crop, which the model sees, judged by the rest, which it does not."""
    image = centre_crop(picture_HWC, size)
    job = msgspec.structs.replace(JOB, prompt=text)
    video_CTHW = generate(wan, job, image, lambda _stage, _step: None)
    truth_CHW = values(image)
    return Case(
        motion=motion,
        seen=recognise_motion(video_CTHW, picture_HWC, motion.speed),
        first_frame_db=psnr_db(video_CTHW[:, 0], truth_CHW),
        limit_db=psnr_db(reconstruct(wan, image), truth_CHW),
        drift_px=drift_px(video_CTHW),
    )


def reconstruct(wan: Wan, image: Image.Image) -> torch.Tensor:
    """What the VAE alone makes of a picture: 3 × height × width."""
    with torch.inference_mode():
        latents_BCTHW = codec.first_frame_condition(wan.vae, image, 1)[:, codec.TEMPORAL_STRIDE :]
        return codec.decode(wan.vae, latents_BCTHW)[:, 0]


def centre_crop(picture_HWC: torch.Tensor, size: tuple[int, int] = SIZE) -> Image.Image:
    height, width, _ = picture_HWC.shape
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return Image.fromarray(picture_HWC[top : top + size[1], left : left + size[0]].numpy())


class Yardstick:
    """A linear codec of 8 × 8 blocks with 16 numbers each, fitted to drawn pictures: what the VAE is set against."""

    def __init__(self, pictures: list[torch.Tensor]) -> None:
        blocks_NX = torch.cat([_blocks(rgb_CHW) for rgb_CHW in pictures])
        self._mean = blocks_NX.mean(dim=0)
        _, vectors = torch.linalg.eigh(torch.cov(blocks_NX.T))
        self._basis = vectors[:, -COMPONENTS:]

    def reconstruct(self, rgb_CHW: torch.Tensor) -> torch.Tensor:
        kept_NX = (_blocks(rgb_CHW) - self._mean) @ self._basis @ self._basis.T + self._mean
        return functional.fold(kept_NX.T[None], rgb_CHW.shape[1:], BLOCK, stride=BLOCK)[0]


def _blocks(rgb_CHW: torch.Tensor) -> torch.Tensor:
    return functional.unfold(rgb_CHW[None], BLOCK, stride=BLOCK)[0].T


def drawings(count: int) -> list[torch.Tensor]:
    return [torch.from_numpy(picture(HELD_OUT_SEED + seed, WIDTH, HEIGHT)) for seed in range(count)]


def report_pictures(wan: Wan) -> None:
    yardstick = Yardstick([values(centre_crop(drawn)) for drawn in drawings(YARDSTICK_PICTURES)])
    rows: list[tuple[float, float]] = []
    for name, photo_HWC in held_out_photos(*SIZE).items():
        image = Image.fromarray(photo_HWC)
        truth = values(image)
        rows.append((psnr_db(reconstruct(wan, image), truth), psnr_db(yardstick.reconstruct(truth), truth)))
        say(f"VAE {name}: {rows[-1][0]:.1f} dB, linear yardstick {rows[-1][1]:.1f} dB")
    mine, linear = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    say(f"VAE, mean of {len(rows)} photos: {mine:.2f} dB, linear yardstick {linear:.2f} dB")


def report_clips(wan: Wan, count: int) -> None:
    rng, end = Random(HELD_OUT_SEED), time.monotonic() + CASES_S_MAX
    photos = [torch.from_numpy(photo.copy()) for photo in held_out_photos(WIDTH, HEIGHT).values()]
    asked = product([*photos, *drawings(DRAWINGS)], KINDS)
    cases: list[Case] = []
    for picture_HWC, kind in islice(asked, count):
        if time.monotonic() > end:
            say(f"no more time: {len(cases)} of {count} cases")
            break
        motion = Motion(kind)
        cases.append(evaluate_case(wan, picture_HWC, motion, _long_enough(prompt(motion, rng))))
        say(f"{kind}: seen {cases[-1].seen}, first frame {cases[-1].first_frame_db:.1f} dB")
    for line in summary(cases):
        say(line)


def _long_enough(text: str) -> str:
    """The API wants ten characters."""
    return text if len(text) >= 10 else f"{text}, {text}, {text}"


def summary(cases: list[Case]) -> list[str]:
    """The figures, a line each."""
    first, limit = (
        sum(column) / len(cases) for column in zip(*((c.first_frame_db, c.limit_db) for c in cases), strict=True)
    )
    lines = [f"first frame: {first:.2f} dB, {limit - first:.2f} dB below the VAE's own limit"]
    for name, kinds in (("pans", PANS), ("zoom and rotation", ("in", "out", "clockwise", "counterclockwise"))):
        right = [c.seen == c.motion.kind for c in cases if c.motion.kind in kinds]
        if right:
            lines.append(f"{name} right: {100 * sum(right) / len(right):.0f} % of {len(right)}")
    still = [c.drift_px for c in cases if c.motion.kind == "still"]
    if still:
        lines.append(f"hold still: {max(still):.2f} pixels a frame at most, over {len(still)}")
    return lines


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what this command is for


def main(arguments: list[str]) -> None:
    folder, count = [*arguments, *(str(POCKET_FOLDER), str(CASES))[len(arguments) :]]
    if not 1 <= int(count) <= CASES:
        raise SystemExit(f"there are 1 to {CASES} cases")
    torch.set_num_threads(1)
    wan = load(Path(folder), torch.device("cpu"))
    report_pictures(wan)
    report_clips(wan, int(count))


if __name__ == "__main__":
    main(sys.argv[1:])
