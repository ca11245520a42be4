"""One rank of `test_shard.py`: leaves its results in a folder."""

import gc
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor

from contracts.plan import Plan
from contracts.process.die_with_parent import die_with_parent
from inference.ranks import device
from inference.wan.load import Wan, load
from inference.wan.parallel.fsdp import sharding_mesh
from inference.wan.parallel.mesh import Meshes
from inference.wan.sharding import set_sharded
from tests.kit.tiny import Broken, break_off, image, job, latents

CPU = torch.device("cpu")
LOOKS, LOOK_EVERY_S = 4, 0.1


def held_bytes() -> int:
    """Return the bytes of all tensors of this process."""
    gc.collect()
    storages = [thing.untyped_storage() for thing in gc.get_objects() if type(thing) in (torch.Tensor, nn.Parameter)]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def settled_bytes() -> int:
    """Return the least of a few looks at `held_bytes`: what a collective has used is released by another thread."""
    dist.barrier()
    looks = [held_bytes()]
    for _ in range(LOOKS - 1):
        threading.Event().wait(LOOK_EVERY_S)
        looks.append(held_bytes())
    return min(looks)


def own_bytes(wan: Wan) -> int:
    """Return the bytes of this rank's shards of the two large models."""
    parameters = [*wan.transformer.parameters(), *wan.text_encoder.parameters()]
    return sum((own.to_local() if isinstance(own, DTensor) else own).nbytes for own in parameters)


def run(wan: Wan, results: dict[str, torch.Tensor], name: str, *, sharded: bool) -> None:
    dist.barrier()
    began = time.monotonic()
    set_sharded(wan, dit_sharded=sharded, t5_sharded=sharded)
    results[f"{name}/seconds"] = torch.tensor(time.monotonic() - began)
    results[f"{name}/latents"] = latents(wan, job(infer_steps=2, num_frames=5), image(48, 48))
    results[f"{name}/bytes"] = torch.tensor(settled_bytes() - sum(kept.nbytes for kept in results.values()))


def break_a_pass(wan: Wan) -> None:
    handle = wan.transformer.blocks[1].register_forward_pre_hook(break_off)
    try:
        latents(wan, job(seed=8, num_frames=5), image(64, 48))
    except Broken:
        handle.remove()


def main(checkpoint: Path, folder: Path) -> None:
    die_with_parent()
    torch.set_num_threads(1)
    results: dict[str, torch.Tensor] = {}
    with device.join_group(CPU):
        mesh = sharding_mesh("cpu", dist.get_world_size())
        wan = load(checkpoint, CPU, mesh=mesh)
        results["float32/own_bytes"] = torch.tensor(own_bytes(wan))
        run(wan, results, "float32/sharded", sharded=True)
        run(wan, results, "float32/gathered", sharded=False)
        break_a_pass(wan)
        run(wan, results, "float32/gathered_after_a_break", sharded=False)
        run(wan, results, "float32/sharded_again", sharded=True)
        break_a_pass(wan)
        run(wan, results, "float32/sharded_after_a_break", sharded=True)
        for name in ("bfloat16", "fp8"):
            wan = load(checkpoint, CPU, mesh=mesh, dtype=getattr(torch, name, None), fp8_linear=name == "fp8")
            results[f"{name}/own_bytes"] = torch.tensor(own_bytes(wan))
            run(wan, results, f"{name}/sharded", sharded=True)
            run(wan, results, f"{name}/gathered", sharded=False)
            layout = Meshes("cpu", dist.get_world_size()).layout(Plan(cfg_size=1, ulysses_size=2), latent_rows=6)
            together = latents(wan, job(infer_steps=2, num_frames=5), image(48, 48), layout=layout)
            results[f"{name}/shared_tokens"] = together
        save_file({name: tensor.contiguous() for name, tensor in results.items()}, folder / f"{dist.get_rank()}")
