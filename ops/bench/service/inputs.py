"""Draws the pictures and writes the bodies that the benchmark submits."""

import base64
import io
import random
from pathlib import Path

import msgspec
from PIL import Image

PROMPT = "a small boat sails over a calm sea"
TINY, MEGAPIXEL, LARGE = "tiny PNG", "1 MP JPEG", "20 MP JPEG"
SIDES = {TINY: (64, 48), MEGAPIXEL: (1154, 866), LARGE: (5164, 3873)}
JPEG_QUALITY = 90
GRAIN = 6


def body(name: str) -> bytes:
    """Return the body of a submission with the picture of this name inline, as JSON."""
    kind = "png" if name == TINY else "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(picture(name)).decode()}"
    fields = {"prompt": PROMPT, "image_size": "256*144", "num_frames": 25, "infer_steps": 20, "image_url": uri}
    return msgspec.json.encode(fields)


def body_file(folder: Path, name: str) -> str:
    """Return the path of a file with the body, which is written unless it is there."""
    file = folder / f"{name.replace(' ', '-')}.json"
    if not file.exists():
        file.write_bytes(body(name))
    return str(file)


def picture(name: str) -> bytes:
    """Return a picture with the grain and the shapes of a photograph: its JPEG has about two bits a pixel."""
    width, height = SIDES[name]
    draw = random.Random(0)
    shapes = Image.new("RGB", (max(2, width // 24), max(2, height // 24)))
    count = shapes.width * shapes.height
    shapes.putdata([(draw.randrange(256), draw.randrange(256), draw.randrange(256)) for _ in range(count)])
    smooth = shapes.resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.effect_noise((width, height), GRAIN * 4).convert("RGB")
    file = io.BytesIO()
    drawn = Image.blend(smooth, grain, 0.2)
    drawn.save(file, "PNG") if name == TINY else drawn.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
