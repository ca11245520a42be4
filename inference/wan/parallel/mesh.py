"""How the ranks are laid out for a job: meshes with named axes. Knows no model."""

from dataclasses import dataclass

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from contracts.plan import Plan

# `replica` repeats the same work, `cfg` parts the branches of guidance, `ulysses` the tokens of a branch. diffusers'
# hooks ask for an axis `ring` by name: it is always 1, for ring attention is not to be had on every device.
SAMPLE_AXES = ("replica", "cfg", "ring", "ulysses")
BAND_AXES = ("replica", "rows")


@dataclass(frozen=True)
class Layout:
    """With whom this rank shares a job; None where it does that part by itself.

    `cfg` and `rows` are the axes of those names, `tokens` is the mesh that has the axis `ulysses`.
    """

    cfg: DeviceMesh | None = None
    tokens: DeviceMesh | None = None
    rows: DeviceMesh | None = None


ALONE = Layout()


class Meshes:
    """Every mesh that a job has asked for so far, over the whole world of this rank.

    Each is made once and kept, since process groups are dear to make: there are as many as there are degrees that
    divide the world, and no more.
    """

    def __init__(self, device_type: str, world_size: int) -> None:
        self._device_type, self._world_size = device_type, world_size
        self._made: dict[tuple[int, ...], DeviceMesh] = {}

    def layout(self, plan: Plan, *, latent_rows: int) -> Layout:
        """How the ranks share a job of this plan. A collective: every rank asks for the same layouts in one order."""
        cfg, ulysses, rows = plan.cfg_size, plan.ulysses_size, self._bands(plan, latent_rows)
        return Layout(
            cfg=self._sample(cfg, ulysses)["cfg"] if cfg > 1 else None,
            tokens=self._sample(cfg, ulysses) if ulysses > 1 else None,
            rows=self._mesh(BAND_AXES, self._world_size // rows, rows)["rows"] if rows > 1 else None,
        )

    def _bands(self, plan: Plan, latent_rows: int) -> int:
        """As many bands as ranks, or where that leaves some without a row, as many as divide the ranks."""
        most = min(latent_rows, self._world_size) if plan.vae_parallel else 1
        return next(bands for bands in range(most, 0, -1) if self._world_size % bands == 0)

    def _sample(self, cfg: int, ulysses: int) -> DeviceMesh:
        return self._mesh(SAMPLE_AXES, self._world_size // (cfg * ulysses), cfg, 1, ulysses)

    def _mesh(self, axes: tuple[str, ...], *shape: int) -> DeviceMesh:
        if shape not in self._made:
            self._made[shape] = init_device_mesh(self._device_type, shape, mesh_dim_names=axes)
        return self._made[shape]
