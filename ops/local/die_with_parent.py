"""Runs a command that the kernel ends with its parent: `python -m ops.local.die_with_parent COMMAND…`.

The process asks Linux for SIGTERM at its parent's death (PR_SET_PDEATHSIG) and then becomes the command; on other
systems it only becomes the command. supervisord.conf, `supervisor` and the justfile start commands so.

After `--hold-interrupts` the command starts with SIGINT blocked, for a Python program that unblocks the signal once it
has a handler: a Python that receives Ctrl-C during its start prints a traceback.
"""

import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1] == "--hold-interrupts":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        del sys.argv[1]

import ctypes

# Not `contracts.process.die_with_parent`, which kills: this file runs without packages (`python -IS`, in the justfile),
# so that it starts fast and holds Ctrl-C back from the first moment, and its command is to end in order.
PR_SET_PDEATHSIG = 1  # linux/prctl.h; the setting outlives exec
PARENT = "WANJET_PARENT"
"""The variable in which a parent may leave its pid for its children: one that starts after its death could not tell."""


def tie_to_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies; end now if the parent is dead already.

    The parent is the one that `PARENT` names, which is taken out of the environment, or else the one of now. Does
    nothing on systems other than Linux. Raises `OSError` if the kernel refuses.
    """
    named = os.environ.pop(PARENT, "")
    if sys.platform != "linux":
        return
    parent = int(named) if named.isdecimal() else os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # the parent ended before the kernel was told
        sys.exit("the parent is gone")


if __name__ == "__main__":
    tie_to_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # no shell is the point
