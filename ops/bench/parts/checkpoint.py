"""Measures what a checkpoint of a running job costs at the real shapes: bytes, seconds to write, delay of the steps.

`worker` calls `measure`. Many small matrix products in this thread stand for the steps; a second thread writes the
checkpoint to a folder.
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from contracts.job import CHECKPOINTS, parse_size
from contracts.stores import Folder
from inference.leader.job_checkpoints import JobCheckpoints
from inference.ranks import device
from inference.wan.encode import TEXT_TOKENS
from inference.wan.guidance import Conditions
from inference.wan.snapshot import DenoisingSnapshot
from inference.wan.solvers import Memory
from inference.wan.vae.codec import SPATIAL_STRIDE, TEMPORAL_STRIDE
from ops.bench.clock import now, seconds
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import Setup
from ops.bench.turns import by_turns, warmed

SIZES = ("832*480", "1280*720")
FRAMES = 81
CHANNELS, CONDITION_CHANNELS = 16, 20
TEXT_DIM, PICTURE_TOKENS, PICTURE_DIM = 4096, 257, 1280
INTERVAL_S = 60.0  # CHECKPOINT_INTERVAL
A_HUNDREDTH = Aim("≤", INTERVAL_S / 100)
STEPS, SIDE = 8000, 256  # together they take longer than a write
JOB_ID = "0" * 32


def measure(setup: Setup) -> Iterator[Row]:
    """Yield the rows of each size: bytes, seconds to write, seconds that the steps lose."""
    here = device.choose(0)
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            yield from _measure(setup, size, snapshot(size, here), Path(folder))


def snapshot(size: str, here: torch.device) -> DenoisingSnapshot:
    """Return a job's random state at step 20 with the shapes of Wan2.1-I2V-14B (UniPC, UMT5-xxl, CLIP ViT-H)."""
    width, height = parse_size(size)
    volume = ((FRAMES - 1) // TEMPORAL_STRIDE + 1, height // SPATIAL_STRIDE, width // SPATIAL_STRIDE)
    latents = torch.randn(1, CHANNELS, *volume, device=here)
    text = torch.randn(1, TEXT_TOKENS, TEXT_DIM, dtype=torch.bfloat16, device=here)
    picture = torch.randn(1, PICTURE_TOKENS, PICTURE_DIM, dtype=torch.bfloat16, device=here)
    condition = torch.randn(1, CONDITION_CHANNELS, *volume, device=here)
    memory = Memory((latents.clone(), latents.clone()), latents.clone(), {"lower_order_nums": 2, "this_order": 2})
    return DenoisingSnapshot(20, latents, memory, Conditions(text, text.clone(), picture, condition))


def _measure(setup: Setup, size: str, state: DenoisingSnapshot, folder: Path) -> Iterator[Row]:
    """Yield a size's rows. Writes checkpoints of `state` into `folder`, and leaves the last one there."""
    square = torch.randn(SIDE, SIDE, device=state.latents_BCTHW.device)
    written_s: list[float] = []

    def steps() -> None:
        for _ in range(STEPS):
            torch.mm(square, square)

    def without() -> float:
        return seconds(steps, square.device)

    def beside() -> float:
        """Return the seconds of the steps beside a write of the checkpoint, with those to copy the state to the CPU."""
        began = now(square.device)
        taken = state.to(torch.device("cpu"))
        writer = threading.Thread(target=lambda: written_s.append(_write(folder, taken)))
        writer.start()
        steps()
        took_s = now(square.device) - began
        writer.join()
        return took_s

    took = by_turns(warmed({"beside": beside, "without": without}), setup.count)
    lost = [max(0.0, most - least) for most, least in zip(took["beside"], took["without"], strict=True)]
    size_bytes = [float(sum(file.stat().st_size for file in (folder / CHECKPOINTS).iterdir()))]
    yield Row(part="checkpoint", what=f"{size}×{FRAMES}: size", unit="bytes", over=Series("both files", size_bytes))
    yield Row(part="checkpoint", what=f"{size}×{FRAMES}: written in", unit="s", over=Series("beside", written_s))
    lost_s = Series("a checkpoint", lost)
    yield Row(part="checkpoint", what=f"{size}×{FRAMES}: the steps lose", unit="s", over=lost_s, aim=A_HUNDREDTH)


def _write(folder: Path, state: DenoisingSnapshot) -> float:
    """Write both files of a checkpoint after deleting those of the last round, and return the seconds of the write.

    Blocks until they are written; call it outside an event loop.
    """
    with suppress(FileNotFoundError):
        for file in (folder / CHECKPOINTS).iterdir():
            file.unlink()
    began = time.monotonic()
    asyncio.run(JobCheckpoints(Folder(folder), "weights").write(JOB_ID, 1, "a fingerprint", state))
    return time.monotonic() - began
