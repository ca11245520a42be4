"""The pocket model: a Wan2.1 small enough for two CPU cores, with the same classes and layout; see `MODEL_CARD.md`."""

from pathlib import Path

POCKET_FOLDER = Path(__file__).parent / "trained"
