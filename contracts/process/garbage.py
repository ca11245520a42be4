"""Keep the garbage collector from what a process makes at its start and keeps: imported modules, routes, connections.

Every long-running `__main__` imports inside `frozen`, and calls `freeze` once it serves. A full collection otherwise
walks all of that again and again: some 40 ms in an edge, in which no request is answered, and a second in a rank.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def frozen() -> Generator[None, None, None]:
    """Collect no garbage inside the block, and never walk what was made in it or before.

    Forked processes go on sharing the pages of such objects, which a collection would write to.
    """
    gc.disable()
    try:
        yield
    finally:
        freeze()
        gc.enable()


def freeze() -> None:
    """Never walk again what was made until now. Garbage among it, of which a start makes little, stays for good."""
    gc.freeze()
