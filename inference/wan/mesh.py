"""How the ranks are laid out: a mesh with named axes. Knows no model."""

import math

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

# `replica` repeats the same work; `ulysses` shares the tokens of one video. diffusers' hooks ask for an axis `ring` by
# name: it is always 1, for ring attention is not to be had on every device.
AXES = ("replica", "ring", "ulysses")


def ulysses_degree(world_size: int, heads: int) -> int:
    """The most ranks that can share one video: Ulysses gives each the same number of heads. The others repeat it."""
    return math.gcd(world_size, heads)


def make_mesh(device_type: str, world_size: int, ulysses_size: int) -> DeviceMesh:
    """The mesh over the whole world. A collective: every rank makes it."""
    if world_size % ulysses_size:
        raise ValueError(f"ulysses_size {ulysses_size} does not divide the world size {world_size}")
    return init_device_mesh(device_type, (world_size // ulysses_size, 1, ulysses_size), mesh_dim_names=AXES)
