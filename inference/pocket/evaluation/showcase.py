"""Draw a sheet of a pocket model's videos: `python -m inference.pocket.evaluation.showcase PICTURE SHEET [FOLDER]`.

The sheet has a row for every motion, asked for in words, with five frames from the first to the last. People judge it.
"""

import os
import signal
import sys

if __name__ == "__main__":  # before the imports below, which take seconds
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # transformers warns of missing torchvision

from pathlib import Path

import msgspec
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from contracts.job import Job
from inference.pocket import POCKET_FOLDER
from inference.pocket.evaluation.evaluate import JOB, SIZE, say
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.generate import generate
from inference.wan.load import Wan, load
from inference.wan.pixels import rgb_bytes

USAGE = """usage: just showcase PICTURE SHEET [FOLDER]        (or: python -m inference.pocket.evaluation.showcase …)

  PICTURE   a file: PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF
  SHEET     the file to write: a row of five frames for every motion; its name ends in .jpg, .png or .webp
  FOLDER    a pocket model's checkpoint; left out, the one that comes along"""
HELP = ("-h", "--help")
WRONG_USAGE_EXIT = 2
SHEET_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

PROMPTS = (
    "hold still, nothing moves",
    "the camera pans to the left",
    "the camera slowly pans to the right",
    "the camera tilts up",
    "the picture slides upwards, fast",
    "zoom in on the scene",
    "quickly zoom out",
    "rotate clockwise",
    "turn counter-clockwise, slowly",
)
# Guidance amplifies a small model's errors; MODEL_CARD.md says by how much.
SHOWN = msgspec.structs.replace(JOB, guidance_scale=1.5)
COLUMNS = 5
FRAME_PX = (176, 99)
LABEL_PX = 16


def sheet(wan: Wan, image: Image.Image, prompts: tuple[str, ...] = PROMPTS, asked: Job = SHOWN) -> Image.Image:
    """Generate a video for each prompt and return frames of all as one sheet; `image` has the videos' size.

    `asked` has all else that a job has. Prints each prompt when its video is made.
    """
    made = Image.new("RGB", (COLUMNS * FRAME_PX[0], len(prompts) * (FRAME_PX[1] + LABEL_PX)), "white")
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(12)
    for row, prompt in enumerate(prompts):
        job = msgspec.structs.replace(asked, prompt=prompt)
        video_CTHW = generate(wan, job, image, lambda _stage, _step: None)
        top = row * (FRAME_PX[1] + LABEL_PX)
        pen.text((2, top + 1), prompt, fill="black", font=font)
        for column in range(COLUMNS):
            frame_CHW = video_CTHW[:, column * (video_CTHW.shape[1] - 1) // (COLUMNS - 1)]
            frame = Image.fromarray(rgb_bytes(frame_CHW)).resize(FRAME_PX, Image.Resampling.LANCZOS)
            made.paste(frame, (column * FRAME_PX[0], top + LABEL_PX))
        say(prompt)
    return made


def opened(file: Path) -> Image.Image:
    """Return the picture in a file as the model takes it: upright, its middle cut and resized to `SIZE`.

    Ends the process with a sentence if there is none.
    """
    try:
        with Image.open(file) as picture:
            picture.load()
            return ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), SIZE)
    except UnidentifiedImageError:
        raise SystemExit(f"{file} holds no picture that can be read here, such as a PNG or a JPEG") from None
    except Image.DecompressionBombError:
        raise SystemExit(f"{file} has too many pixels") from None
    except OSError as error:
        if error.strerror is not None:
            raise SystemExit(f"no picture can be read at {file} ({error.strerror})") from None
        raise SystemExit(f"the picture in {file} is damaged") from None
    except (SyntaxError, ValueError):  # Pillow raises these for damaged data
        raise SystemExit(f"the picture in {file} is damaged") from None


def _check_writable(file: Path) -> None:
    """End the process at once if the sheet cannot be written, which would otherwise show after minutes."""
    if file.suffix.lower() not in SHEET_SUFFIXES:
        raise SystemExit(f"the name of the sheet must end in .jpg, .png or .webp; it was {file}")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise SystemExit(f"the sheet cannot be written to {file}")


def main(arguments: list[str]) -> None:
    """Write the sheet that the arguments ask for.

    Ends the process with the usage or a sentence if they cannot be met.
    """
    if any(argument in HELP for argument in arguments):
        sys.stdout.write(f"{USAGE}\n")
        sys.exit(0)
    if not 2 <= len(arguments) <= 3:
        sys.stderr.write(f"{USAGE}\n")
        sys.exit(WRONG_USAGE_EXIT)
    picture, file, folder = map(Path, [*arguments, str(POCKET_FOLDER)][:3])
    _check_writable(file)
    image = opened(picture)
    torch.set_num_threads(1)
    try:
        wan = load(folder, torch.device("cpu"))
    except CheckpointError as error:
        raise SystemExit(str(error)) from None
    sheet(wan, image).save(file, quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
