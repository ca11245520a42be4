"""Fingerprint of a model: a SHA-256 that tells one checkpoint from another without reading the whole. Called by `load`.

Each tensor is hashed with its name, dtype, shape and samples of its bytes: a fine-tune has the headers of the model it
began from. Fine-tuning or merging a LoRA changes all values of a tensor, and a single replaced tensor is noticed
too. A change of a few rows of a large tensor is noticed only if a sample lies there. Neither the folder's name nor the
split into files is hashed, so two machines with the same files agree.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import torch

from inference.wan.checkpoint.components import Checkpoint
from inference.wan.checkpoint.model_card import ModelCard
from inference.wan.checkpoint.tensors import Stored

WHOLE_BYTES_MAX = 64 * 1024
SAMPLE_BYTES = 4 * 1024
SAMPLES = 16
READERS = 8
"""Threads; sampling waits for the disk or the network, not for the CPU."""

NOT_OF_PIXELS = ("name", "sizes", "large_sizes")
"""Fields of the model card that change no video. All others, and fields added later, are hashed."""


def fingerprint(checkpoint: Checkpoint, card: ModelCard) -> str:
    """Return the SHA-256, in hex, of all that decides the pixels: weights, configurations, tokenizer and card.

    Raises `CheckpointError` if a weight file has become shorter since the checkpoint was opened, and `OSError` if a
    file cannot be read.
    """
    tensors = [
        (f"{component_name}/{name}", tensor)
        for component_name, component in sorted(checkpoint.components.items())
        for name, tensor in sorted(component.used.items())
    ]
    tokenizer = {f"tokenizer/{file.name}": file for file in checkpoint.tokenizer.glob("*") if _is_read(file)}
    files = sorted({**checkpoint.configs, **tokenizer}.items())
    with ThreadPoolExecutor(READERS) as readers:
        parts = [
            *readers.map(lambda each: _tensor_digest(*each), tensors),
            *readers.map(lambda each: _file_digest(*each), files),
        ]
    # Fields that a card leaves out are left out here too, so that a new field changes no existing model's fingerprint.
    of_card = msgspec.structs.asdict(card).items()
    described = {name: value for name, value in of_card if name not in NOT_OF_PIXELS and value is not None}
    return hashlib.sha256(b"".join([*parts, msgspec.json.encode(described, order="sorted")])).hexdigest()


def _tensor_digest(name: str, tensor: Stored) -> bytes:
    """Return the SHA-256 of a tensor's name, dtype, shape and samples."""
    digest = hashlib.sha256(msgspec.json.encode([name, str(tensor.dtype), tensor.shape]))
    for part in samples(tensor.nbytes // tensor.dtype.itemsize, tensor.dtype.itemsize):
        digest.update(tensor.items(part.start, part.stop).view(torch.uint8).numpy().data)
    return digest.digest()


def samples(items: int, item_bytes: int) -> list[range]:
    """Return the ranges of a tensor's numbers that are hashed, for a tensor of `items` numbers of `item_bytes` each.

    A small tensor is hashed whole; a large one at its ends and evenly in between.
    """
    if items * item_bytes <= WHOLE_BYTES_MAX:
        return [range(items)]
    count = SAMPLE_BYTES // item_bytes
    starts = [at * (items - count) // (SAMPLES - 1) for at in range(SAMPLES)]
    return [range(start, start + count) for start in starts]


def _is_read(file: Path) -> bool:
    """Return whether a tokenizer may read this file: it is neither hidden nor documentation."""
    return file.is_file() and not file.name.startswith(".") and file.suffix != ".md"


def _file_digest(name: str, file: Path) -> bytes:
    """Return the SHA-256 of a name and a whole file."""
    with file.open("rb") as content:
        whole = hashlib.file_digest(content, "sha256").digest()
    return hashlib.sha256(f"{name}\0".encode() + whole).digest()
