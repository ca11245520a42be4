"""A Wan2.1 small enough for two cores: same classes, same layout, weights from a seed. Not here: any training."""

from pathlib import Path

POCKET_FOLDER = Path(__file__).parent / "checkpoint"
