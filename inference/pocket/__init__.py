"""A Wan2.1 small enough for two cores: same classes, same layout. `MODEL_CARD.md` says what it can do, and whence."""

from pathlib import Path

POCKET_FOLDER = Path(__file__).parent / "trained"
