"""Fingerprint of a model: a SHA-256 that tells one checkpoint from another without reading it whole. Knows no job.

Every tensor counts with its name, type and shape and with samples of its bytes: the headers of a fine-tune are those of
the model that it began from. Fine-tuning and merging LoRA weights change all values of a tensor, and a single tensor
that is another one is seen too. A change of a few rows of a large tensor is not, unless a sample lies there.
Neither the folder's name nor the split into files counts, so that two machines with the same files agree.
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
"""Threads: samples wait for the disk, or for the network, rather than for this machine."""

NOT_OF_PIXELS = ("name", "sizes", "large_sizes")
"""Fields of the card that change no video. What is added to the card later counts."""


def fingerprint(checkpoint: Checkpoint, card: ModelCard) -> str:
    """A SHA-256 in hex of all that decides the pixels. Raises `CheckpointError` if a file has become shorter."""
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
    # What a card leaves out is left out here, so that a new field changes no model that does not have it.
    of_card = msgspec.structs.asdict(card).items()
    described = {name: value for name, value in of_card if name not in NOT_OF_PIXELS and value is not None}
    return hashlib.sha256(b"".join([*parts, msgspec.json.encode(described, order="sorted")])).hexdigest()


def _tensor_digest(name: str, tensor: Stored) -> bytes:
    digest = hashlib.sha256(msgspec.json.encode([name, str(tensor.dtype), tensor.shape]))
    for part in samples(tensor.nbytes // tensor.dtype.itemsize, tensor.dtype.itemsize):
        digest.update(tensor.items(part.start, part.stop).view(torch.uint8).numpy().data)
    return digest.digest()


def samples(items: int, item_bytes: int) -> list[range]:
    """Which of a tensor's numbers are read: all of a small one; of a large one some at its ends and evenly between."""
    if items * item_bytes <= WHOLE_BYTES_MAX:
        return [range(items)]
    count = SAMPLE_BYTES // item_bytes
    starts = [at * (items - count) // (SAMPLES - 1) for at in range(SAMPLES)]
    return [range(start, start + count) for start in starts]


def _is_read(file: Path) -> bool:
    """Whether a tokenizer may read it: no hidden file, and none that is for people."""
    return file.is_file() and not file.name.startswith(".") and file.suffix != ".md"


def _file_digest(name: str, file: Path) -> bytes:
    with file.open("rb") as content:
        whole = hashlib.file_digest(content, "sha256").digest()
    return hashlib.sha256(f"{name}\0".encode() + whole).digest()
