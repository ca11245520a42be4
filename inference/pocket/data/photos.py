"""The photographs that come with scikit-image and scikit-learn: a few to train on, five held out. Knows no model.

Both packages are in the extra `train`. MODEL_CARD.md lists who gave each picture and under which licence.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SKIMAGE = ("brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "retina.jpg")
SKLEARN = ("china.jpg", "flower.jpg")
HELD_OUT = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "motorcycle": "motorcycle_left.png",
}


def training_photos(width: int, height: int) -> list[np.ndarray]:
    """Height × width × 3 in uint8 each: the middle of the photo, as large as fits."""
    near, far = _within("skimage") / "data", _within("sklearn") / "datasets" / "images"
    files = [near / name for name in SKIMAGE] + [far / name for name in SKLEARN]
    return [_fitted(file, width, height) for file in files]


def held_out_photos(width: int, height: int) -> dict[str, np.ndarray]:
    """The five that no training sees."""
    folder = _within("skimage") / "data"
    return {name: _fitted(folder / file, width, height) for name, file in HELD_OUT.items()}


def _within(package: str) -> Path:
    """Its folder; the package is not imported, only its pictures are wanted."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed: it comes with the extra `train`")
    return Path(found.origin).parent


def _fitted(file: Path, width: int, height: int) -> np.ndarray:
    with Image.open(file) as photo:
        return np.asarray(ImageOps.fit(photo.convert("RGB"), (width, height), Image.Resampling.LANCZOS))
