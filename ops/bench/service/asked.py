"""The settings of one run of the benchmark, as the command line asks for them. Every part gets them."""

from pathlib import Path

from msgspec import Struct

from ops.bench.service.processes import Cores
from ops.bench.service.stack import Service, Tree, this_tree


class Asked(Struct, frozen=True, kw_only=True):
    """Settings of a run: `rounds` of windows of `seconds`, in `folder`, up to `jobs` jobs.

    `against` is another checkout that is measured beside this one; `full` adds what takes minutes; `quick` leaves out
    what `check` does not compare.
    """

    folder: Path
    cores: Cores
    rounds: int = 5
    seconds: float = 2.0
    jobs: tuple[int, ...] = (100, 1000, 10_000, 100_000)
    against: Tree | None = None
    full: bool = False
    quick: bool = False

    @property
    def trees(self) -> list[Tree]:
        """Return the checkouts to measure."""
        return [this_tree(), *([] if self.against is None else [self.against])]

    def service(self, tree: Tree, name: str, *, edge_cores: str = "", **variables: str) -> Service:
        """Return a service of a tree, not started, in a folder of this name and the tree's."""
        return Service(tree, self.folder / f"{name}-{tree.name}", self.cores, edge_cores=edge_cores, **variables)
