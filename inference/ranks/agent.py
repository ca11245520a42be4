"""One group of ranks under torchrun's agent, which runs in this process and forks them.

`inference.cluster` runs it in a process of its own for each group, forked from one that has imported the libraries.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from contracts.process import lifetime, start
from contracts.process.die_with_parent import die_with_parent

LOOPBACK = "127.0.0.1"
EX_STOPPED = 80
"""The exit code of a rank that has ended in order. After 0 the agent would wait for the value that the rank returns."""
FRESH_RANK = "from inference.ranks import agent; from inference import launch; agent.run_rank_and_exit(launch.main)"

Rank = Callable[[Callable[[], None]], None]
"""Runs a rank to its end. Is given what to call once the whole group runs."""


def run_group(ranks: int, rank: Rank, on_running: Callable[[], None]) -> None:
    """Run `rank(on_running)` as each of `ranks` ranks, in processes forked from this one, until all have ended.

    For a process of its own, which ends with its parent and leaves its terminal. Ends the process with `EX_CONFIG` if a
    rank refuses its settings. Raises `ChildFailedError` if a rank fails. A signal stops the ranks, which have
    torchrun's 30 s for it, and is no failure.
    """
    die_with_parent()
    os.setsid()  # Ctrl-C on the terminal reaches the parent alone, which passes it on once
    _restore_signals()
    _name_process("torchrun")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id="wanjet",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOOPBACK}:0",
        local_addr=LOOPBACK,
        max_restarts=0,
        start_method="fork",
    )
    try:
        elastic_launch(config, _run_rank)(rank, on_running)
    except SignalException:
        pass
    except ChildFailedError as failure:
        codes = {failed.exitcode for failed in failure.failures.values()}
        if codes == {EX_STOPPED}:
            return
        if start.EX_CONFIG in codes:
            sys.exit(start.EX_CONFIG)
        raise


def run_rank_and_exit(rank: Rank, on_running: Callable[[], None] = lambda: None) -> None:
    """Run a rank to its end, and end this process with `EX_STOPPED`. Never returns.

    If the rank refuses its settings, the exit code is `EX_CONFIG`; any other error passes through.
    """
    try:
        with start.refusing("inference"):
            rank(on_running)
    except SystemExit as ending:
        if ending.code:
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EX_STOPPED)


def _run_rank(rank: Rank, on_running: Callable[[], None]) -> None:
    """Run the rank that torchrun's environment names, in this forked process, and end it. Never returns.

    If the device did not survive the fork, Python starts anew in this process and imports the libraries again.
    """
    _restore_signals()  # which the agent takes in a way of its own
    _name_process(f"rank {os.environ['RANK']}")
    if not _device_survived_fork():
        os.execv(sys.executable, [sys.executable, "-c", FRESH_RANK])  # noqa: S606  # no shell is the point
    run_rank_and_exit(rank, on_running)


def _name_process(name: str) -> None:
    """Set the name of this process in ps and top, on Linux: all are forked from one and would look alike."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _restore_signals() -> None:
    """Let the signals to stop end this process, as they would a new one: undo the handlers and masks of its parent."""
    for number in lifetime.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, lifetime.SIGNALS)


def _device_survived_fork() -> bool:
    """Return whether this forked process can use the accelerator: not after the parent has touched it.

    Of CUDA torch knows. Of others it does not, or not reliably, so that their ranks import the libraries themselves.
    """
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return True
    return accelerator.type == "cuda" and not torch.cuda._is_in_bad_fork()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
