"""Evaluate a pocket model on unseen pictures: `python -m inference.pocket.evaluation.evaluate [FOLDER [CASES]]`.

Asks for every motion on five held-out photographs and three held-out drawings, with a job's defaults except 25 frames
and 20 steps. Takes half an hour on one core. Needs the extra `train` for the photographs. Prints its figures.
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
from inference.wan.pixels import pixel_values
from inference.wan.vae import codec

# Seeds of drawings that no training draws.
HELD_OUT_SEED = 1_000_000
YARDSTICK_PICTURES = 16
DRAWINGS = 3
SIZE = (256, 144)
JOB = Job(prompt="0123456789", seed=1, num_frames=25, infer_steps=20)
CASES = (len(HELD_OUT) + DRAWINGS) * len(KINDS)
# The yardstick has as many numbers per 8 × 8 pixels as a Wan VAE has for a picture.
BLOCK, COMPONENTS = 8, 16
# Time limit; after it the figures are those of the cases so far.
CASES_S_MAX = 2 * 3600.0


@dataclass(frozen=True)
class Case:
    """Measurements of one video: `motion` was asked for, `seen` is recognised, `limit_db` is the VAE's own PSNR."""

    motion: Motion
    seen: Kind
    first_frame_db: float
    limit_db: float
    drift_px: float


def evaluate_case(
    wan: Wan,
    picture_HWC: torch.Tensor,
    motion: Motion,
    text: str,
    *,
    size: tuple[int, int] = SIZE,
    frames: int = JOB.num_frames,
    steps: int = JOB.infer_steps,
) -> Case:
    """Generate `frames` frames in `steps` steps from the picture's centre, and compare them with the true `motion`.

    `text` is the prompt. `picture_HWC` in uint8 is larger than `size` (width, height). The model sees only its centre.
    """
    image = centre_crop(picture_HWC, size)
    job = msgspec.structs.replace(JOB, prompt=text, num_frames=frames, infer_steps=steps)
    video_CTHW = generate(wan, job, image, lambda _stage, _step: None)
    truth_CHW = pixel_values(image)
    return Case(
        motion=motion,
        seen=recognise_motion(video_CTHW, picture_HWC, motion.speed),
        first_frame_db=psnr_db(video_CTHW[:, 0], truth_CHW),
        limit_db=psnr_db(reconstruct(wan, image), truth_CHW),
        drift_px=drift_px(video_CTHW),
    )


def reconstruct(wan: Wan, image: Image.Image) -> torch.Tensor:
    """Return the picture as the VAE encodes and decodes it: 3 × height × width, multiples of 8, in [-1, 1]."""
    with torch.inference_mode():
        latents_BCTHW = codec.first_frame_condition(wan.vae, image, 1)[:, codec.TEMPORAL_STRIDE :]
        return codec.decode(wan.vae, latents_BCTHW)[:, 0]


def centre_crop(picture_HWC: torch.Tensor, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return the picture's centre in `size` (width, height), at full resolution."""
    height, width, _ = picture_HWC.shape
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return Image.fromarray(picture_HWC[top : top + size[1], left : left + size[0]].numpy())


class Yardstick:
    """Baseline for the VAE: a linear codec (PCA) of 8 × 8 blocks with 16 numbers each, fitted to drawn pictures."""

    def __init__(self, pictures: list[torch.Tensor]) -> None:
        blocks_NX = torch.cat([_blocks(rgb_CHW) for rgb_CHW in pictures])
        self._mean = blocks_NX.mean(dim=0)
        _, vectors = torch.linalg.eigh(torch.cov(blocks_NX.T))
        self._basis = vectors[:, -COMPONENTS:]

    def reconstruct(self, rgb_CHW: torch.Tensor) -> torch.Tensor:
        """Return the picture, in [-1, 1], as the codec encodes and decodes it.

        Its sides must be multiples of `BLOCK`.
        """
        kept_NX = (_blocks(rgb_CHW) - self._mean) @ self._basis @ self._basis.T + self._mean
        return functional.fold(kept_NX.T[None], rgb_CHW.shape[1:], BLOCK, stride=BLOCK)[0]


def _blocks(rgb_CHW: torch.Tensor) -> torch.Tensor:
    """Return the picture's blocks in rows, each flat: blocks × (3 · `BLOCK` · `BLOCK`)."""
    return functional.unfold(rgb_CHW[None], BLOCK, stride=BLOCK)[0].T


def drawings(count: int) -> list[torch.Tensor]:
    """Return the first `count` held-out drawings, each height × width × 3 in uint8."""
    return [torch.from_numpy(picture(HELD_OUT_SEED + seed, WIDTH, HEIGHT)) for seed in range(count)]


def report_pictures(wan: Wan) -> None:
    """Print the VAE's PSNR on the held-out photos, beside the yardstick's."""
    yardstick = Yardstick([pixel_values(centre_crop(drawn)) for drawn in drawings(YARDSTICK_PICTURES)])
    rows: list[tuple[float, float]] = []
    for name, photo_HWC in held_out_photos(*SIZE).items():
        image = Image.fromarray(photo_HWC)
        truth = pixel_values(image)
        rows.append((psnr_db(reconstruct(wan, image), truth), psnr_db(yardstick.reconstruct(truth), truth)))
        say(f"VAE {name}: {rows[-1][0]:.1f} dB, linear yardstick {rows[-1][1]:.1f} dB")
    mine, linear = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    say(f"VAE, mean of {len(rows)} photos: {mine:.2f} dB, linear yardstick {linear:.2f} dB")


def report_clips(wan: Wan, count: int) -> None:
    """Generate and measure `count` videos, fewer after `CASES_S_MAX`; print the figures of each and their summary."""
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
    """Return the text, repeated if it is shorter than the ten characters that the API demands."""
    return text if len(text) >= 10 else f"{text}, {text}, {text}"


def summary(cases: list[Case]) -> list[str]:
    """Return the figures over all cases, at least one, a line for each."""
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
    """Print a line of the command's output at once."""
    print(line, flush=True)  # noqa: T201 - the command's output


def main(arguments: list[str]) -> None:
    """Evaluate the checkpoint folder in the arguments with as many cases as they say, by default all.

    Ends the process if that number is not possible; raises `CheckpointError` if the folder cannot be used.
    """
    folder, count = [*arguments, *(str(POCKET_FOLDER), str(CASES))[len(arguments) :]]
    if not 1 <= int(count) <= CASES:
        raise SystemExit(f"there are 1 to {CASES} cases")
    torch.set_num_threads(1)
    wan = load(Path(folder), torch.device("cpu"))
    report_pictures(wan)
    report_clips(wan, int(count))


if __name__ == "__main__":
    main(sys.argv[1:])
