"""Loads the photographs that come with scikit-image and scikit-learn: nine for training, five held out for evaluation.

Both packages are in the extra `train`. MODEL_CARD.md lists each picture's source and licence.
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
    """Return the training photos, each height × width × 3 in uint8: the largest middle part of that shape, resized.

    Raises ModuleNotFoundError if their packages are not installed.
    """
    near, far = _within("skimage") / "data", _within("sklearn") / "datasets" / "images"
    files = [near / name for name in SKIMAGE] + [far / name for name in SKLEARN]
    return [_fitted(file, width, height) for file in files]


def held_out_photos(width: int, height: int) -> dict[str, np.ndarray]:
    """Return the five photos that no training sees, by name, each height × width × 3 in uint8.

    Raises ModuleNotFoundError if their package is not installed.
    """
    folder = _within("skimage") / "data"
    return {name: _fitted(folder / file, width, height) for name, file in HELD_OUT.items()}


def _within(package: str) -> Path:
    """Return the package's folder without importing the package. Raises ModuleNotFoundError if it is not installed."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed: it comes with the extra `train`")
    return Path(found.origin).parent


def _fitted(file: Path, width: int, height: int) -> np.ndarray:
    """Return the largest middle part of this shape, resized: height × width × 3 in uint8."""
    with Image.open(file) as photo:
        return np.asarray(ImageOps.fit(photo.convert("RGB"), (width, height), Image.Resampling.LANCZOS))
