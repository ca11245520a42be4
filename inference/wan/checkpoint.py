"""Opens a checkpoint folder of either layout and checks it whole. Reads no weight."""

from pathlib import Path

from inference.wan.diffusers_layout import INDEX_FILE, open_diffusers
from inference.wan.original_layout import CONFIG_FILE, open_original
from inference.wan.parts import Checkpoint, check_part
from inference.wan.weights import CheckpointError


def open_checkpoint(folder: Path) -> Checkpoint:
    """Raises `CheckpointError` unless the folder holds Wan2.1 image-to-video, down to each tensor's shape and type.

    Other Wans load without complaint and fail late or draw nonsense, text-to-video ones above all
    (Wan-Video/Wan2.1 issue 154).
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected a folder with a Wan2.1 image-to-video checkpoint, found none")
    checkpoint = _open(folder)
    for part in checkpoint.parts.values():
        check_part(part)
    return checkpoint


def _open(folder: Path) -> Checkpoint:
    if (folder / INDEX_FILE).exists():
        return open_diffusers(folder)
    if (folder / CONFIG_FILE).exists():
        return open_original(folder)
    raise CheckpointError(
        f"{folder}: expected {INDEX_FILE} (diffusers layout) or {CONFIG_FILE} (original Wan2.1 layout), found neither"
    )
