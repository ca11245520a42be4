"""Opens a checkpoint folder of either layout and checks every component, without reading weights. Called by `load`."""

from pathlib import Path

from PIL import Image

from inference.wan.checkpoint.components import Checkpoint, check_component
from inference.wan.checkpoint.diffusers_layout import open_diffusers
from inference.wan.checkpoint.original_layout import open_original
from inference.wan.checkpoint.places import INDEX_FILE, check_place, is_there
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.checkpoint.tokenizer import read_tokenizer

WHY_CHARS_MAX = 200


def open_checkpoint(folder: Path) -> Checkpoint:
    """Return the checkpoint, unread.

    Raises `CheckpointError`, and nothing else, unless it is Wan2.1 image-to-video, down to each tensor's shape. Without
    the check other Wan models, above all text-to-video ones, would load and fail late, or generate nonsense
    (Wan-Video/Wan2.1 issue 154).
    """
    try:
        return _open(folder)
    except CheckpointError:
        raise
    except Exception as error:  # an unforeseen value must give one sentence too
        why = " ".join(f"{type(error).__name__}: {error}".split())[:WHY_CHARS_MAX]
        raise CheckpointError(
            f"{folder}: expected a Wan2.1 checkpoint, found one that cannot be read ({why})"
        ) from error


def _open(folder: Path) -> Checkpoint:
    """Return the checkpoint. Raises `CheckpointError`, and anything for a value that the checks do not foresee."""
    check_place(folder)
    checkpoint = open_diffusers(folder) if is_there(folder / INDEX_FILE) else open_original(folder)
    for component in checkpoint.components.values():
        check_component(component)
    _check_vocabulary(checkpoint)
    _check_image_processor(checkpoint)
    return checkpoint


def _check_vocabulary(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` unless the text encoder has an embedding for each token of the tokenizer."""
    tokens, rows = len(read_tokenizer(checkpoint.tokenizer)), checkpoint.text_encoder.stored["shared.weight"].shape[0]
    if tokens > rows:
        raise CheckpointError(f"{checkpoint.tokenizer}: expected a tokenizer of {rows} tokens at most, found {tokens}")


def _check_image_processor(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` unless the image processor makes pictures of the size that the image encoder takes."""
    where, side = checkpoint.image_encoder.where, checkpoint.image_encoder.build_empty().config.image_size
    processor = checkpoint.image_processor()
    try:
        pixels_BCHW = processor(images=Image.new("RGB", (2 * side, side)), return_tensors="pt").pixel_values
    except Exception as error:  # the library raises anything for a bad value
        raise CheckpointError(f"{where}: expected an image processor for it, found one that fails") from error
    if pixels_BCHW.shape[2:] != (side, side):
        found = "×".join(map(str, pixels_BCHW.shape[2:]))
        raise CheckpointError(f"{where}: expected an image processor that makes {side}×{side}, found {found}")
