"""Measures parts in one process, or as one of torchrun's ranks: `python -m ops.bench.worker SETUP PART…`.

`engine` starts it. SETUP is JSON; each row is printed as a line of JSON.
"""

import os
import sys
from collections.abc import Callable, Iterator

import msgspec
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from contracts.process.die_with_parent import die_with_parent
from inference.ranks import device
from ops.bench.parts import card, checkpoint, control, loop, mp4, plans, queue
from ops.bench.report.row import Row, write
from ops.bench.setup import Setup

BY_ITSELF: dict[str, Callable[[Setup], Iterator[Row]]] = {
    "loop": loop.measure,
    "mp4": mp4.measure,
    "card": card.measure,
    "queue": queue.measure,
    "checkpoint": checkpoint.measure,
}
BY_RANKS: dict[str, Callable[[Setup, Store], Iterator[Row]]] = {
    "control": control.measure,
    "plans": plans.measure,
}


def main(text: str, *parts: str) -> None:
    """Measure the named parts with the setup in the JSON `text`, and print their rows; of several ranks rank 0 prints.

    As torchrun's ranks the parts are those of `BY_RANKS`, and every rank calls this; else those of `BY_ITSELF`. From
    then on the process is killed with its parent.
    """
    die_with_parent()
    setup = msgspec.json.decode(text, type=Setup)
    torch.set_num_threads(setup.threads)
    if "RANK" not in os.environ:
        for part in parts:
            for row in BY_ITSELF[part](setup):
                write(row)
        return
    here = device.choose(int(os.environ["LOCAL_RANK"]))
    device.make_current(here)
    with device.join_group(here) as store:
        for part in parts:
            for row in BY_RANKS[part](setup, store):
                if dist.get_rank() == 0:
                    write(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
