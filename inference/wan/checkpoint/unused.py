"""Finds weight files in a checkpoint's folder that are not used, such as a LoRA, so that the log can warn of them."""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from inference.wan.checkpoint.tensors import CheckpointError, read_safetensors

FILES_MAX = 20


class NotUsed(Struct, frozen=True):
    """A weight file that is not used; `what` is `LoRA`, or `weights` for any other file."""

    file: Path
    what: str

    def __str__(self) -> str:
        return f"{self.file} is not used: {'no LoRA is applied' if self.what == 'LoRA' else 'no part names it'}"


def not_used(folder: Path, used: Iterable[Path]) -> list[NotUsed]:
    """Return the safetensors files below the folder that are not among those used, the first `FILES_MAX` at most."""
    known = {file.absolute() for file in used}
    others = [file for file in sorted(folder.rglob("*.safetensors")) if file.absolute() not in known]
    return [NotUsed(file, "LoRA" if is_lora(file) else "weights") for file in others[:FILES_MAX]]


def is_lora(file: Path) -> bool:
    """Return whether a file is a LoRA, by its name or its tensors' names, as any tool writes them.

    False for a file that cannot be read.
    """
    if "lora" in file.name.lower():
        return True
    try:
        return any("lora_" in name.lower() or ".lora" in name.lower() for name in read_safetensors([file]))
    except CheckpointError:
        return False
