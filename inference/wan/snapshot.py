"""A job between two of its steps: all that the rest of it depends on, and the same as bytes. Knows no file and no rank.

What depends on the plan is not in it (nor the attention cache: there is a snapshot only where the next step computes),
so that a job goes on by any plan, on any number of ranks.
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

from inference.wan.guidance import Conditioning
from inference.wan.solvers import Memory

FORMAT = 2
HEADER_BYTES_MAX = 100 * 1024  # there are a dozen tensors


@dataclass(frozen=True)
class DenoisingSnapshot:
    """`step` steps are done, at least one; `latents_BCTHW` are what came of them."""

    step: int
    latents_BCTHW: torch.Tensor
    memory: Memory
    given: Conditioning

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "DenoisingSnapshot":
        """On that device, and what text and picture say in that type: the one of the transformer there."""

        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device)

        given, memory = self.given, self.memory
        return DenoisingSnapshot(
            step=self.step,
            latents_BCTHW=self.latents_BCTHW.to(device),
            memory=Memory(tuple(map(moved, memory.outputs)), moved(memory.last_sample), memory.counts),
            given=Conditioning(
                prompt_BLD=given.prompt_BLD.to(device, dtype),
                negative_BLD=None if given.negative_BLD is None else given.negative_BLD.to(device, dtype),
                image_BLD=given.image_BLD.to(device, dtype),
                first_frame_BCTHW=given.first_frame_BCTHW.to(device),
            ),
        )


class Origin(Struct, frozen=True):
    """Whose snapshot it is: `job_fingerprint` tells a job with its picture from any other, `weights` a model."""

    job_fingerprint: str = msgspec.field(name="recipe")
    weights: str


class Unusable(Exception):
    """These bytes are no snapshot of this job; the text says why."""

    def __init__(self, why: Literal["damaged", "foreign", "of another format"]) -> None:
        super().__init__(why)
        self.why = why


class _Facts(Struct, frozen=True):
    """What stands in the header, beside the tensors; `conditions` is the SHA-256 of those bytes."""

    format: int
    origin: Origin
    step: int = 0
    counts: dict[str, int] = {}
    outputs: int = 0
    conditions: str = ""


def encode_conditions(given: Conditioning, origin: Origin) -> bytes:
    """What stays the same through all steps, as safetensors."""
    tensors = {name: tensor for name, tensor in vars(given).items() if tensor is not None}
    return _saved(tensors, _Facts(FORMAT, origin))


def encode_step(snapshot: DenoisingSnapshot, origin: Origin, conditions_digest: str) -> bytes:
    """What a step changes, as safetensors, bound to the conditions that it belongs to, by their `digest`."""
    tensors = {"latents": snapshot.latents_BCTHW, **dict(_remembered(snapshot.memory))}
    outputs, counts = len(snapshot.memory.outputs), snapshot.memory.counts
    facts = _Facts(FORMAT, origin, snapshot.step, counts, outputs, conditions_digest)
    return _saved(tensors, facts)


def check(conditions: bytes, step: bytes, origin: Origin) -> int:
    """The number of steps that these have done. Raises `Unusable` where they do not belong together, or to another."""
    facts = _facts(step)
    for each in (facts, _facts(conditions)):
        if each.origin != origin:
            raise Unusable("foreign")
    if facts.conditions != digest(conditions):
        raise Unusable("damaged")
    return facts.step


def decode(conditions: bytes, step: bytes) -> DenoisingSnapshot:
    """On the CPU. Raises `Unusable`."""
    facts, given, changed = _facts(step), _loaded(conditions), _loaded(step)
    try:
        return DenoisingSnapshot(
            step=facts.step,
            latents_BCTHW=changed["latents"],
            memory=Memory(
                outputs=tuple(changed.get(f"outputs.{at}") for at in range(facts.outputs)),
                last_sample=changed.get("last_sample"),
                counts=facts.counts,
            ),
            given=Conditioning(
                prompt_BLD=given["prompt_BLD"],
                negative_BLD=given.get("negative_BLD"),
                image_BLD=given["image_BLD"],
                first_frame_BCTHW=given["first_frame_BCTHW"],
            ),
        )
    except KeyError as error:
        raise Unusable("damaged") from error


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _remembered(memory: Memory) -> Iterator[tuple[str, torch.Tensor]]:
    for at, output in enumerate(memory.outputs):
        if output is not None:
            yield f"outputs.{at}", output
    if memory.last_sample is not None:
        yield "last_sample", memory.last_sample


def _saved(tensors: dict[str, torch.Tensor], facts: _Facts) -> bytes:
    apart: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        shared = any(tensor.data_ptr() == other.data_ptr() for other in apart.values())
        apart[name] = tensor.clone() if shared else tensor.contiguous()  # safetensors takes no two of one memory
    return save(apart, metadata={"wanjet": msgspec.json.encode(facts).decode()})


def _loaded(content: bytes) -> dict[str, torch.Tensor]:
    try:
        return load(content)
    except SafetensorError as error:
        raise Unusable("damaged") from error


class _Metadata(Struct):
    wanjet: str


class _Header(Struct):
    metadata: _Metadata = msgspec.field(name="__metadata__")


class _Format(Struct):
    format: int


def _facts(content: bytes) -> _Facts:
    """Source of the layout: 8 bytes of length, little-endian, then JSON (safetensors' README)."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = msgspec.json.decode(content[8 : 8 + min(length, HEADER_BYTES_MAX)], type=_Header)
        text = header.metadata.wanjet
        if msgspec.json.decode(text, type=_Format).format != FORMAT:
            raise Unusable("of another format")
        return msgspec.json.decode(text, type=_Facts)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unusable("damaged") from error
