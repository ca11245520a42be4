"""A snapshot of a job between two steps: all that its remaining steps depend on, as tensors and as bytes.

`generate` makes and resumes snapshots, `job_checkpoints` stores their bytes. A snapshot holds nothing that depends on
the plan, so a job goes on by any plan, on any number of ranks. It holds no attention cache either: a snapshot is made
only if the next step computes its attention anew.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load, save

from inference.wan.guidance import Conditions
from inference.wan.solvers import Memory

FORMAT = 2
HEADER_BYTES_MAX = 100 * 1024  # there are a dozen tensors


@dataclass(frozen=True)
class DenoisingSnapshot:
    """The state after `step` steps, at least one: the latents, the solver's memory and the conditions of the job."""

    step: int
    latents_BCTHW: torch.Tensor
    memory: Memory
    conditions: Conditions

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "DenoisingSnapshot":
        """Return a copy on `device`; with `dtype`, the transformer's, its text and image embeddings are cast to it.

        Tensors that need neither are shared.
        """

        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device)

        conditions, memory = self.conditions, self.memory
        return DenoisingSnapshot(
            step=self.step,
            latents_BCTHW=self.latents_BCTHW.to(device),
            memory=Memory(tuple(map(moved, memory.outputs)), moved(memory.last_sample), memory.counts),
            conditions=Conditions(
                prompt_BLD=conditions.prompt_BLD.to(device, dtype),
                negative_BLD=None if conditions.negative_BLD is None else conditions.negative_BLD.to(device, dtype),
                image_BLD=conditions.image_BLD.to(device, dtype),
                first_frame_BCTHW=conditions.first_frame_BCTHW.to(device),
            ),
        )


class Origin(Struct, frozen=True):
    """The owner of a snapshot: `job_fingerprint` tells a job with its picture from any other, `weights` a model."""

    job_fingerprint: str = msgspec.field(name="recipe")
    weights: str


class Unusable(Exception):
    """The bytes are no snapshot of this job; the text says why."""

    def __init__(self, why: Literal["damaged", "foreign", "of another format"]) -> None:
        super().__init__(why)
        self.why = why


class _Facts(Struct, frozen=True):
    """The header beside the tensors; `conditions` is the SHA-256 of the file of conditions."""

    format: int
    origin: Origin
    step: int = 0
    counts: dict[str, int] = {}
    outputs: int = 0
    conditions: str = ""


def encode_conditions(conditions: Conditions, origin: Origin) -> bytes:
    """Return the conditions, which stay the same through all steps, as the bytes of a safetensors file."""
    tensors = {name: tensor for name, tensor in vars(conditions).items() if tensor is not None}
    return _saved(tensors, _Facts(FORMAT, origin))


def encode_state(snapshot: DenoisingSnapshot, origin: Origin, conditions_digest: str) -> bytes:
    """Return what a step changes, as the bytes of a safetensors file.

    `conditions_digest`, the `digest` of the file of conditions, binds the two files together.
    """
    tensors = {"latents": snapshot.latents_BCTHW, **dict(_remembered(snapshot.memory))}
    outputs, counts = len(snapshot.memory.outputs), snapshot.memory.counts
    facts = _Facts(FORMAT, origin, snapshot.step, counts, outputs, conditions_digest)
    return _saved(tensors, facts)


def checked_steps(conditions: bytes, state: bytes, origin: Origin) -> int:
    """Return the number of steps done in a snapshot, by the bytes of its two files.

    Raises `Unusable` if they do not belong together or to `origin`, or have no header. Tensors are not decoded.
    """
    facts = _facts(state)
    for each in (facts, _facts(conditions)):
        if each.origin != origin:
            raise Unusable("foreign")
    if facts.conditions != digest(conditions):
        raise Unusable("damaged")
    return facts.step


def decode_snapshot(conditions: bytes, state: bytes) -> DenoisingSnapshot:
    """Return the snapshot in the bytes of its two files, on the CPU. Raises `Unusable`."""
    facts, given, changed = _facts(state), _loaded(conditions), _loaded(state)
    try:
        return DenoisingSnapshot(
            step=facts.step,
            latents_BCTHW=changed["latents"],
            memory=Memory(
                outputs=tuple(changed.get(f"outputs.{at}") for at in range(facts.outputs)),
                last_sample=changed.get("last_sample"),
                counts=facts.counts,
            ),
            conditions=Conditions(
                prompt_BLD=given["prompt_BLD"],
                negative_BLD=given.get("negative_BLD"),
                image_BLD=given["image_BLD"],
                first_frame_BCTHW=given["first_frame_BCTHW"],
            ),
        )
    except KeyError as error:
        raise Unusable("damaged") from error


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _remembered(memory: Memory) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the solver's tensors with their names in the file."""
    for at, output in enumerate(memory.outputs):
        if output is not None:
            yield f"outputs.{at}", output
    if memory.last_sample is not None:
        yield "last_sample", memory.last_sample


def _saved(tensors: dict[str, torch.Tensor], facts: _Facts) -> bytes:
    """Return the tensors and the facts as the bytes of a safetensors file."""
    apart: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        shared = any(tensor.data_ptr() == other.data_ptr() for other in apart.values())
        apart[name] = tensor.clone() if shared else tensor.contiguous()  # safetensors refuses two tensors in one memory
    return save(apart, metadata={"wanjet": msgspec.json.encode(facts).decode()})


def _loaded(content: bytes) -> dict[str, torch.Tensor]:
    """Return the tensors in a safetensors file by name, on the CPU. Raises `Unusable`."""
    try:
        return load(content)
    except SafetensorError as error:
        raise Unusable("damaged") from error


class _Metadata(Struct):
    """The metadata of a safetensors file, whose values are strings: ours is JSON."""

    wanjet: str


class _Header(Struct):
    """The header of a safetensors file, beside its tensors."""

    metadata: _Metadata = msgspec.field(name="__metadata__")


class _Format(Struct):
    """The one field that every version of the metadata has."""

    format: int


def _facts(content: bytes) -> _Facts:
    """Read a file's header: 8 bytes of length, little-endian, then JSON (safetensors' README). Raises `Unusable`."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = msgspec.json.decode(content[8 : 8 + min(length, HEADER_BYTES_MAX)], type=_Header)
        text = header.metadata.wanjet
        if msgspec.json.decode(text, type=_Format).format != FORMAT:
            raise Unusable("of another format")
        return msgspec.json.decode(text, type=_Facts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last for brackets within brackets
        raise Unusable("damaged") from error
