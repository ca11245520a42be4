"""Measures how fast ranks load a checkpoint, and their memory: `python -m ops.bench.load [RANKS] [GIGABYTES]`.

The load is measured by turns with `cat` of the same files: first with the files outside the page cache, then in it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from inference.pocket.build import POCKET_CARD, PocketShape, build
from inference.ranks import device
from inference.wan.load import load
from inference.wan.parallel.fsdp import sharding_mesh
from ops.bench.child import json_lines
from ops.bench.memory import forget_peak, held_bytes, peak_bytes

ROUNDS = 3
LAYER_BYTES = 170e6
SHAPE = PocketShape(card=POCKET_CARD, heads=12, head_dim=128, text_dim=512, image_dim=128)
MEBIBYTE = 2**20


def main(ranks: int, gigabytes: float) -> None:
    """Build a random checkpoint of about this size in a temporary folder, measure its load, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="wanjet-bench-") as work:
        folder = Path(work) / "model"
        build(folder, replace(SHAPE, layers=round(gigabytes * 1e9 / LAYER_BYTES)))
        files = sorted(folder.rglob("*.safetensors"))
        size = sum(file.stat().st_size for file in files)
        print(f"{size / 1e9:.2f} GB in {len(files)} files, {ranks} ranks with 1 thread each, {os.cpu_count()} cores")
        for cached in (False, True):
            rounds = [_round(files, folder, ranks, cached=cached) for _ in range(ROUNDS)]
            _print_summary("in the page cache" if cached else "from the disk", size, rounds)


def _round(files: list[Path], folder: Path, ranks: int, *, cached: bool) -> tuple[float, list[dict[str, float]]]:
    """Return the seconds of `cat`, and what each rank printed of its load.

    That is `seconds`, and in bytes `rows` (its weights), `before` and `peak` (its memory before the load, and the most
    in it). Unless `cached`, the files are dropped from the page cache before `cat` and before the load.
    """
    _forget(files, really=not cached)
    began = time.monotonic()
    with Path(os.devnull).open("wb") as nothing:
        subprocess.run(["cat", *files], stdout=nothing, check=True)
    cat_s = time.monotonic() - began
    _forget(files, really=not cached)
    return cat_s, [json.loads(line) for line in json_lines("ops.bench.load", str(folder), threads=1, ranks=ranks)]


def _forget(files: list[Path], *, really: bool) -> None:
    """Drop the files from the page cache, if `really`."""
    for file in files if really else ():
        with file.open("rb") as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _print_summary(where: str, size_bytes: int, rounds: list[tuple[float, list[dict[str, float]]]]) -> None:
    """Print what the rounds of `_round` took, and the memory that each rank took in the last of them.

    `where` names the place that the files were read from; `size_bytes` is the size of the checkpoint.
    """
    cats = [cat_s for cat_s, _ in rounds]
    loads = [max(rank["seconds"] for rank in ranks) for _, ranks in rounds]
    ratio = statistics.median(load_s / cat_s for cat_s, load_s in zip(cats, loads, strict=True))
    print(f"{where}: cat {_spread(cats)} s, load {_spread(loads)} s, load / cat {ratio:.2f}")
    last = rounds[-1][1]
    for name in ("rows", "before", "peak"):
        print(f"  {name:6} MiB a rank: {', '.join(f'{rank[name] / MEBIBYTE:.0f}' for rank in last)}")
    above = max(rank["peak"] - rank["before"] for rank in last) / size_bytes
    print(f"  peak above what the imports take: {above:.2f} of the checkpoint, {1 / len(last):.2f} is a share")


def _spread(seconds: list[float]) -> str:
    """Return median, least and most as text."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"


def measure(folder: Path) -> None:
    """Load the checkpoint as one of torchrun's ranks, and print seconds and bytes as a line of JSON.

    A collective: every rank calls it, once in a process.
    """
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with device.join_group(cpu):
        mesh = sharding_mesh("cpu", dist.get_world_size())
        forget_peak(cpu)
        before = held_bytes(cpu)
        dist.barrier()
        began = time.monotonic()
        wan = load(folder, cpu, mesh=mesh)
        seconds = time.monotonic() - began
        models = (wan.transformer, wan.text_encoder, wan.image_encoder, wan.vae)
        held = [getattr(parameter, "_local_tensor", parameter) for model in models for parameter in model.parameters()]
        rows = sum(tensor.nbytes for tensor in held)
        result = {"seconds": seconds, "rows": rows, "before": before, "peak": peak_bytes(cpu)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if "RANK" in os.environ:
        measure(Path(sys.argv[1]))
    else:
        main(int((sys.argv[1:] or ["4"])[0]), float((sys.argv[2:] or ["2"])[0]))
