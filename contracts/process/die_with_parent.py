"""Tie a process to its parent, so that the kernel kills it when the parent ends: no orphan goes on holding a card.

Ranks and the ranks of benchmarks call it early. `ops/local/die_with_parent.py` does a related thing on its own, since
it runs without packages.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends: a killed torchrun leaves ranks that hold the cards.

    Kills this process at once if the parent ends before that is set. Linux only; elsewhere it does nothing. Call it
    from the main thread, early. Raises `OSError` if the kernel refuses.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # the parent ended before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)
