"""The ranks of a cluster on this machine: `python -m ops.local.ranks COUNT`, which is torchrun with two things settled.

The ranks meet at 127.0.0.1, so that the machine's name may resolve to nothing. And where a rank ends because its
settings cannot work, this process has the same exit code and the rank's sentence as its last line; torchrun's own
report does not hold the sentence, and its exit code is 1 for everything.
"""

import os
import sys
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from contracts.process.start import EX_CONFIG, REFUSALS, left

LOOPBACK = "127.0.0.1"
SERVICE = "inference"


def main(count: str) -> int:
    """Run the ranks to their end. Returns `EX_CONFIG` if one of them refused its settings."""
    meet = [f"--rdzv-endpoint={LOOPBACK}:0", "--rdzv-backend=c10d", "--rdzv-id=wanjet", f"--local-addr={LOOPBACK}"]
    try:
        run.main([*meet, f"--nproc-per-node={count}", "-m", SERVICE])
    except ChildFailedError as failure:
        if all(failed.exitcode != EX_CONFIG for failed in failure.failures.values()):
            raise
        if sentence := left(Path(os.environ.get(REFUSALS, ""))).get(SERVICE):
            print(sentence, flush=True)
        return EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
