"""Reads tensors from safetensors and `.pth` files: name, shape and dtype at once, values later, row by row.

The layouts list a checkpoint's tensors with it, without reading their values; `load` and `fingerprint` read the values.
"""

import itertools
import math
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from msgspec import Struct

from contracts import json_body, members
from inference.wan.checkpoint.content import mistaken

HEADER_BYTES_MAX = 100_000_000  # the format's own limit

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The number types of the safetensors format (huggingface/safetensors, README) that a checkpoint may hold."""


class CheckpointError(Exception):
    """Raised if a checkpoint folder cannot be used; the text says what was expected and what was found."""


@dataclass(frozen=True)
class Stored:
    """A tensor of a file, unread. `items(first, last)` reads a range of its numbers, flat, into new memory."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    items: Callable[[int, int], torch.Tensor]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def _row_items(self) -> int:
        return math.prod(self.shape[1:])

    def read(self, first: int, last: int) -> torch.Tensor:
        """Read the rows `first` to `last` - 1 of the leading dimension into new memory.

        Raises `CheckpointError` if a safetensors file has become shorter, and `OSError` if it cannot be read.
        """
        flat = self.items(first * self._row_items, last * self._row_items)
        return flat.view(last - first, *self.shape[1:])

    def rows(self, first: int, last: int) -> "Stored":
        """Return the rows `first` to `last` - 1 as a stored tensor, unread."""
        before = first * self._row_items
        shape = (last - first, *self.shape[1:])
        return replace(self, shape=shape, items=lambda start, end: self.items(before + start, before + end))

    def without_leading_one(self) -> "Stored":
        """Return the tensor without its leading dimension, whose size must be 1; unread."""
        return replace(self, shape=self.shape[1:])


class _HeaderEntry(Struct, frozen=True):
    """The entry of a tensor in the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_safetensors(files: Iterable[Path]) -> dict[str, Stored]:
    """Return the tensors of these files by name, in file order, unread.

    Raises `CheckpointError` if a file is missing, cut off, or no safetensors file.
    """
    return dict(itertools.chain.from_iterable(_header(file).items() for file in files))


def _header(file: Path) -> dict[str, Stored]:
    """Return the tensors of one file in file order. Raises `CheckpointError` if its header or its size is wrong."""
    # Not read by the safetensors library, which maps the file: pages that were read count as the rank's memory.
    if (found := mistaken(file)) is not None:
        raise CheckpointError(f"{file}: expected this file with weights, found {found}")
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            header_bytes = int.from_bytes(content.read(8), "little")
            if not 0 < header_bytes <= min(HEADER_BYTES_MAX, size):
                raise CheckpointError(f"{file}: expected a safetensors file, found something else or its beginning")
            header, _ = json_body.decode(content.read(header_bytes), object)
        if isinstance(header, dict):
            header.pop("__metadata__", None)
        places = members.convert(header, dict[str, _HeaderEntry])
    except json_body.NotJson as error:
        said = f"it is not JSON: {error.reason}"
        raise CheckpointError(f"{file}: expected the header of a safetensors file, found that {said}") from error
    except members.Faulty as error:
        raise CheckpointError(f"{file}: expected the header of a safetensors file, found that {error}") from error
    start = 8 + header_bytes
    expected_size = start + max((place.data_offsets[1] for place in places.values()), default=0)
    if size != expected_size:
        raise CheckpointError(f"{file}: expected {expected_size} bytes, found {size}")
    in_order = sorted(places.items(), key=lambda item: item[1].data_offsets)
    return {name: _stored(file, name, place, start) for name, place in in_order}


def _stored(file: Path, name: str, place: _HeaderEntry, start: int) -> Stored:
    """Return the unread tensor of a header's entry; `start` is the offset of the file's data in bytes.

    Raises `CheckpointError` if the entry's type is unknown or its size is not that of its place.
    """
    dtype = DTYPES.get(place.dtype)
    begin, end = place.data_offsets
    if dtype is None or math.prod(place.shape) * dtype.itemsize != end - begin:
        found = f"{place.dtype} of shape {list(place.shape)} in {end - begin} bytes"
        raise CheckpointError(f"{file}: expected {name} as numbers that fill its place, found {found}")

    def items(first: int, last: int) -> torch.Tensor:
        flat = torch.empty((last - first) * dtype.itemsize, dtype=torch.uint8)
        if not _fill(flat, file, start + begin + first * dtype.itemsize):
            raise CheckpointError(f"{file}: expected {name} whole, found that the file has become shorter")
        return flat.view(dtype)

    return Stored(file, place.shape, dtype, items)


def _fill(flat: torch.Tensor, file: Path, at: int) -> bool:
    """Read bytes from offset `at` until the tensor, of uint8, is full; return False if the file ends before."""
    wanted = flat.numpy().data
    with file.open("rb", buffering=0) as content:  # a buffer may be a megabyte; a sample needs 4 KiB
        content.seek(at)
        while wanted and (count := content.readinto(wanted)):
            wanted = wanted[count:]
    return not wanted


def read_pickle(file: Path) -> dict[str, Stored]:
    """Return the tensors of a `.pth` file by name, memory-mapped; no code in the pickle is run.

    Raises `CheckpointError` if the file is missing, cut off, or holds other objects than tensors.
    """
    if (found := mistaken(file)) is not None:
        raise CheckpointError(f"{file}: expected this file with weights, found {found}")
    try:
        tensors = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: expected tensors and nothing that runs, found other objects") from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise CheckpointError(f"{file}: expected a whole file of torch.save, found one that cannot be read") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{file}: expected tensors by name, found {type(tensors).__name__} of other things")
    return {str(name): _mapped(file, tensor) for name, tensor in tensors.items()}


def _mapped(file: Path, tensor: torch.Tensor) -> Stored:
    """Return a memory-mapped tensor of a file as a stored one."""
    row_items = max(1, math.prod(tensor.shape[1:]))

    def items(first: int, last: int) -> torch.Tensor:
        top, bottom = first // row_items, math.ceil(last / row_items)  # only these rows are made contiguous
        rows = tensor[top:bottom].reshape(-1)
        return rows[first - top * row_items : last - top * row_items].clone()

    return Stored(file, tuple(tensor.shape), tensor.dtype, items)
