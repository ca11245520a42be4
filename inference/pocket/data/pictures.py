"""Draws pictures from a seed, as training data: dead leaves, textures, gradients and text.

The dead leaves model, overlapping shapes with sizes from a power law, has the edges and the spectrum of natural
pictures (Ruderman 1997; Lee, Mumford and Huang 2001), so a model trained on it generalises to photographs.
"""

import math
from functools import cache

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Pictures are drawn larger and scaled down, which antialiases their edges.
OVERSAMPLING = 2
WORD_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789&?!"
TEXTURE_SIDE = 256

Colour = tuple[int, int, int]


def picture(seed: int, width: int, height: int) -> np.ndarray:
    """Return a picture, height × width × 3 in uint8; equal seeds give equal pictures."""
    rng = np.random.default_rng([seed, 0x91C7])
    size = (width * OVERSAMPLING, height * OVERSAMPLING)
    palette = _palette(rng)
    canvas = _fill(rng, size, palette)
    for radius in _radii(rng, size):
        _leaf(rng, canvas, palette, radius)
    if rng.random() < 0.2:
        _words(rng, canvas, palette)
    canvas = canvas.resize((width, height), Image.Resampling.BOX)
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
    return _light(rng, np.asarray(canvas, np.float32))


def _palette(rng: Generator) -> np.ndarray:
    """Return 3 to 8 colours with a common tint, mostly dull, as outdoors: count × 3 in [0, 1]."""
    count = int(rng.integers(3, 9))
    lightness = rng.uniform(0.05, 0.98, (count, 1))
    chroma = rng.beta(1.2, 3.0, (count, 1)) * rng.uniform(0.2, 1.0)
    tint = rng.normal(0, 1, 3) * 0.5
    hue = rng.normal(0, 1, (count, 3)) + tint
    hue -= hue.mean(axis=1, keepdims=True)
    return np.clip(lightness + 0.35 * chroma * hue, 0, 1)


def _colour(rng: Generator, palette: np.ndarray) -> Colour:
    """Return a colour near a random one of the palette."""
    rgb = np.clip(palette[rng.integers(len(palette))] + rng.normal(0, 0.06) + rng.normal(0, 0.02, 3), 0, 1)
    red, green, blue = (int(255 * part) for part in rgb)
    return red, green, blue


def _radii(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Return the radii of a random number of shapes, in pixels, with a density that falls with the radius cubed."""
    smallest, largest = rng.uniform(0.02, 0.08), rng.uniform(0.25, 0.6)
    uniform = rng.random(int(rng.integers(10, 130)))
    radii = 1 / np.sqrt(uniform * (smallest**-2 - largest**-2) + largest**-2)
    return radii * min(size)


def _leaf(rng: Generator, canvas: Image.Image, palette: np.ndarray, radius: float) -> None:
    """Paste a random shape of about this radius, in pixels, at a random place of the canvas."""
    outline = _outline(rng) * radius
    low = np.floor(outline.min(axis=0))
    width, height = (int(side) for side in np.ceil(outline.max(axis=0)) - low + 1)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline - low], fill=255)
    if rng.random() < 0.12:
        mask = mask.filter(ImageFilter.GaussianBlur(float(0.15 * radius)))
    place = (int(rng.uniform(0, canvas.width) + low[0]), int(rng.uniform(0, canvas.height) + low[1]))
    canvas.paste(_fill(rng, (width, height), palette), place, mask)


def _outline(rng: Generator) -> np.ndarray:
    """Return the points (x, y) of a randomly turned ellipse, box, triangle, star or blob of about unit radius."""
    kind = rng.integers(5)
    if kind == 1:
        points = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.8
    else:
        corners = (48, 0, 3, 2 * int(rng.integers(4, 9)), 64)[kind]
        angle = np.linspace(0, 2 * math.pi, corners, endpoint=False)
        reach = np.ones(corners)
        if kind == 3:
            reach[::2] = rng.uniform(0.3, 0.8)
        if kind == 4:
            waves = rng.normal(0, 1, (2, 4)) / np.arange(2, 6)
            reach += 0.35 * sum(waves[0, n] * np.cos((n + 2) * angle + waves[1, n] * 9) for n in range(4))
        points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None]
    points = points * (1, rng.uniform(0.15, 1.0))
    turn = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(turn), math.sin(turn)
    return points @ np.array([(cos, sin), (-sin, cos)])


def _fill(rng: Generator, size: tuple[int, int], palette: np.ndarray) -> Image.Image:
    """Return an image of one colour, or of two mixed by a gradient, stripes, checks, bricks or natural noise."""
    first, second = _colour(rng, palette), _colour(rng, palette)
    kind = rng.random()
    if kind < 0.3:
        return Image.new("RGB", size, first)
    if kind < 0.6:
        mix = _gradient(rng)
    elif kind < 0.72:
        mix = _stripes(rng)
    else:
        mix = _noise(rng)
    return Image.composite(
        Image.new("RGB", size, first), Image.new("RGB", size, second), mix.resize(size, Image.Resampling.BILINEAR)
    )


def _gradient(rng: Generator) -> Image.Image:
    """Return a grey gradient in a random direction, or around a point: 32 × 32 pixels."""
    across, down = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32))
    turn = rng.uniform(0, 2 * math.pi)
    along = math.cos(turn) * across + math.sin(turn) * down
    if rng.random() < 0.3:
        along = 1.4 * np.hypot(across - rng.uniform(-0.5, 0.5), down - rng.uniform(-0.5, 0.5)) - 0.7
    return _grey(0.5 + 0.5 * along)


def _stripes(rng: Generator) -> Image.Image:
    """Return grey stripes, checks or bricks in a random direction: a square of `TEXTURE_SIDE`."""
    across, down = np.meshgrid(np.arange(TEXTURE_SIDE), np.arange(TEXTURE_SIDE))
    turn, period = rng.uniform(0, math.pi), rng.uniform(8, 60)
    along = (math.cos(turn) * across + math.sin(turn) * down) / period
    beside = (math.cos(turn) * down - math.sin(turn) * across) / period / rng.uniform(0.5, 3)
    wave = np.sin(2 * math.pi * along) * (np.sin(2 * math.pi * beside) if rng.random() < 0.4 else 1)
    return _grey(0.5 + 0.5 * np.clip(wave * rng.uniform(1, 12), -1, 1))


def _noise(rng: Generator) -> Image.Image:
    """Return grey noise with a natural spectrum: its amplitude falls about with the frequency; often anisotropic.

    It is a square of `TEXTURE_SIDE`.
    """
    down, across = np.meshgrid(np.fft.fftfreq(TEXTURE_SIDE), np.fft.rfftfreq(TEXTURE_SIDE), indexing="ij")
    stretch = math.exp(rng.normal(0, 0.6))
    frequency = np.sqrt((across * stretch) ** 2 + (down / stretch) ** 2) + 1 / TEXTURE_SIDE
    white = np.fft.rfft2(rng.normal(0, 1, (TEXTURE_SIDE, TEXTURE_SIDE)))
    noise = np.fft.irfft2(white / frequency ** rng.uniform(0.6, 1.6), s=(TEXTURE_SIDE, TEXTURE_SIDE))
    return _grey(0.5 + noise / noise.std() * rng.uniform(0.1, 0.35))


def _grey(values: np.ndarray) -> Image.Image:
    """Return a grey picture of the values, clamped to [0, 1]."""
    return Image.fromarray((255 * np.clip(values, 0, 1)).astype(np.uint8))


def _words(rng: Generator, canvas: Image.Image, palette: np.ndarray) -> None:
    """Write one to five made-up words on the canvas, at random places and sizes."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 6))):
        letters = rng.choice(list(WORD_LETTERS), int(rng.integers(2, 9)))
        place = (rng.uniform(0, 0.8) * canvas.width, rng.uniform(0, 0.9) * canvas.height)
        pen.text(place, "".join(letters), _colour(rng, palette), _font(16 * int(rng.integers(2, 10))))


@cache
def _font(height_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height_px)


def _light(rng: Generator, rgb_HWC: np.ndarray) -> np.ndarray:
    """Apply uneven light, contrast and grain to a picture in 0 to 255; return it in uint8."""
    height, width, _ = rgb_HWC.shape
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slope = rng.normal(0, 0.12, 2)
    light_HW1 = (1 + slope[0] * across + slope[1] * down)[..., None]
    middle = rgb_HWC.mean()
    lit = (middle + (rgb_HWC - middle) * rng.uniform(0.6, 1.15)) * light_HW1
    grain = rng.normal(0, 1, (height, width, 1)) * rng.choice([0, 0, 1, 2.5])
    return np.clip(lit + grain, 0, 255).astype(np.uint8)
