"""Makes memory scarce beside a rank, so that its next job runs out of it: `python -m ops.bench.gpu.scarce BYTES`.

On a card another process takes all of it but BYTES until its standard input ends. Without a card the rank's own address
space is limited instead.
"""

import resource
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import torch

from inference.ranks import device
from ops.bench.gpu.processes import PROC

HELD = "held"
HELD_WITHIN_S = 60.0
CARD_LEFT_BYTES = 300_000_000
SPACE_LEFT_BYTES = 1_000_000


@contextmanager
def memory_scarce(rank: int) -> Generator[None, None, None]:
    """Keep memory scarce for the rank with this pid, for the length of the block.

    Raises `OSError` if the process that takes the card's memory ends early.
    """
    if device.choose(0).type == "cpu":
        with _space_limited(rank):
            yield
        return
    command = [sys.executable, "-m", __spec__.name, str(CARD_LEFT_BYTES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            if holder.stdout.readline().strip() != HELD:
                raise OSError("the process that takes the card's memory has ended")
            yield
        finally:
            holder.stdin.close()
            holder.wait(HELD_WITHIN_S)


@contextmanager
def _space_limited(rank: int) -> Generator[None, None, None]:
    """Limit a process's address space to little more than it has."""
    pages = int((PROC / str(rank) / "statm").read_text().split()[0])
    before = resource.prlimit(rank, resource.RLIMIT_AS)
    resource.prlimit(rank, resource.RLIMIT_AS, (pages * resource.getpagesize() + SPACE_LEFT_BYTES, before[1]))
    try:
        yield
    finally:
        resource.prlimit(rank, resource.RLIMIT_AS, before)


def main(left_bytes: int) -> None:
    """Take the memory of the first card but for so many bytes, say so, and hold it until standard input ends."""
    here = device.choose(0)
    free, _ = torch.get_device_module(here).mem_get_info()
    taken = torch.empty(max(0, free - left_bytes), dtype=torch.uint8, device=here)
    print(HELD, flush=True)
    sys.stdin.read()
    del taken


if __name__ == "__main__":
    main(int(sys.argv[1]))
