"""Lays the ranks out for a job: turns its plan into device meshes with named axes. Called by every rank's worker."""

from dataclasses import dataclass

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from contracts.plan import Plan

# `replica` repeats the same work, `cfg` separates the branches of guidance, `ulysses` the tokens of a branch. An axis
# `ring` is asked for by diffusers' hooks; its size is always 1, because not every device has ring attention.
SAMPLE_AXES = ("replica", "cfg", "ring", "ulysses")
BAND_AXES = ("replica", "rows")


@dataclass(frozen=True)
class Layout:
    """The meshes over which this rank shares one job; None for work that the rank does alone.

    `cfg` separates the branches of guidance, `tokens` (a mesh with the axis `ulysses`) the tokens of a branch, `rows`
    the rows of the picture in the VAE.
    """

    cfg: DeviceMesh | None = None
    tokens: DeviceMesh | None = None
    rows: DeviceMesh | None = None


ALONE = Layout()


class Meshes:
    """Cache of device meshes over all ranks; lives as long as the process.

    Process groups are expensive to create, so each mesh is made once. There are at most as many meshes as there are
    degrees that divide the number of ranks.
    """

    def __init__(self, device_type: str, world_size: int) -> None:
        self._device_type, self._world_size = device_type, world_size
        self._made: dict[tuple[int, ...], DeviceMesh] = {}

    def layout(self, plan: Plan, *, latent_rows: int) -> Layout:
        """Return this rank's layout for a job with this plan; `latent_rows` are the rows of its latents, H/8.

        A collective: every rank asks for the same layouts in the same order. The plan's degrees must divide the ranks.
        """
        cfg, ulysses, rows = plan.cfg_size, plan.ulysses_size, self._bands(plan, latent_rows)
        return Layout(
            cfg=self._sample(cfg, ulysses)["cfg"] if cfg > 1 else None,
            tokens=self._sample(cfg, ulysses) if ulysses > 1 else None,
            rows=self._mesh(BAND_AXES, self._world_size // rows, rows)["rows"] if rows > 1 else None,
        )

    def _bands(self, plan: Plan, latent_rows: int) -> int:
        """Return the number of bands of rows: the largest divisor of the number of ranks that gives each band a row."""
        most = min(latent_rows, self._world_size) if plan.vae_parallel else 1
        return next(bands for bands in range(most, 0, -1) if self._world_size % bands == 0)

    def _sample(self, cfg: int, ulysses: int) -> DeviceMesh:
        """Return the mesh of the ranks that share a denoising step. A collective."""
        return self._mesh(SAMPLE_AXES, self._world_size // (cfg * ulysses), cfg, 1, ulysses)

    def _mesh(self, axes: tuple[str, ...], *shape: int) -> DeviceMesh:
        """Return the mesh of this shape, made at the first call. A collective then."""
        if shape not in self._made:
            self._made[shape] = init_device_mesh(self._device_type, shape, mesh_dim_names=axes)
        return self._made[shape]
