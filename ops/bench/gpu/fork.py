"""Shows by which road a rank comes to life beside an accelerator: `python -m ops.bench.gpu.fork`.

`inference.cluster` forks its ranks from a process that has imported the libraries, and a rank whose device has not
survived that imports them anew. Here a rank of no service does the same and then computes on the device.
"""

import os
import sys
from collections.abc import Callable
from functools import partial

from inference import cluster
from ops.bench.gpu.finding import Fact, write

PART = "ranks"
FORKED, ANEW = "forked from the imported libraries", "executed anew, with imports of its own"
FRESH_RANK = "from ops.bench.gpu import fork; fork.end_as_fresh_rank()"
NUMBERS = 1000


def rank(road: str, on_running: Callable[[], None]) -> None:
    """Compute on the device as a rank, and write by which road the rank has come and what it has computed."""
    import torch  # noqa: PLC0415  # `cluster.prepare` comes first

    from inference.ranks import device  # noqa: PLC0415

    here = device.choose(0)
    on_running()
    total = torch.ones(NUMBERS, device=here).sum().item()
    write(Fact(part=PART, what="a rank of inference.cluster is", found=road))
    write(Fact(part=PART, what="and computes", found=f"on {here.type}", good=total == NUMBERS))


def end_as_fresh_rank() -> None:
    """Run the rank in a process that was executed anew, and end it as the product's ranks end. Never returns."""
    from inference.ranks.agent import EX_STOPPED  # noqa: PLC0415  # imports torch

    rank(ANEW, lambda: None)
    os._exit(EX_STOPPED)


def main() -> int:
    """Run a group of one rank, and return its exit code."""
    cluster.prepare(1)
    import torch  # noqa: PLC0415  # after `prepare`, as in `inference.cluster`

    from inference import launch  # noqa: PLC0415
    from inference.ranks import agent  # noqa: PLC0415

    assert launch, "imported for what its import does"
    touched = torch.cuda.is_initialized()
    write(Fact(part=PART, what="the imports initialise CUDA", found="yes" if touched else "no", good=not touched))
    agent.FRESH_RANK = FRESH_RANK
    return cluster.run(1, partial(rank, FORKED))


if __name__ == "__main__":
    sys.exit(main())
