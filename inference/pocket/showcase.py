"""Draws what a pocket model does with a picture: `python -m inference.pocket.showcase PICTURE SHEET [FOLDER]`.

A row for every motion, asked for in words, and five frames from its first to its last. Judges nothing: people do.
"""

import sys
from pathlib import Path

import msgspec
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from contracts.job import Job
from inference.pocket import POCKET_FOLDER
from inference.pocket.evaluate import JOB, SIZE, say
from inference.wan.generate import generate
from inference.wan.load import Wan, load
from inference.wan.pixels import rgb

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
# Guidance makes what a small model gets wrong worse; MODEL_CARD.md says by how much.
SHOWN = msgspec.structs.replace(JOB, guidance_scale=1.5)
COLUMNS = 5
FRAME_PX = (176, 99)
LABEL_PX = 16


def sheet(wan: Wan, image: Image.Image, prompts: tuple[str, ...] = PROMPTS, asked: Job = SHOWN) -> Image.Image:
    """A video for each prompt; `image` has their size."""
    made = Image.new("RGB", (COLUMNS * FRAME_PX[0], len(prompts) * (FRAME_PX[1] + LABEL_PX)), "white")
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(12)
    for row, prompt in enumerate(prompts):
        job = msgspec.structs.replace(asked, prompt=prompt)
        video_CTHW = generate(wan, job, image, lambda _stage, _step: None)
        top = row * (FRAME_PX[1] + LABEL_PX)
        pen.text((2, top + 1), prompt, fill="black", font=font)
        for column in range(COLUMNS):
            frame_CHW = video_CTHW[:, column * (video_CTHW.shape[1] - 1) // (COLUMNS - 1)]
            frame = Image.fromarray(rgb(frame_CHW)).resize(FRAME_PX, Image.Resampling.LANCZOS)
            made.paste(frame, (column * FRAME_PX[0], top + LABEL_PX))
        say(prompt)
    return made


def main(arguments: list[str]) -> None:
    if not 2 <= len(arguments) <= 3:
        raise SystemExit("usage: python -m inference.pocket.showcase PICTURE SHEET [FOLDER]")
    picture, file, folder = [*arguments, str(POCKET_FOLDER)][:3]
    torch.set_num_threads(1)
    wan = load(Path(folder), torch.device("cpu"))
    with Image.open(picture) as opened:
        image = ImageOps.fit(opened.convert("RGB"), SIZE)
    sheet(wan, image).save(file, quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
