"""The ranks of a cluster on this machine: `python -m inference.cluster RANKS`, which is torchrun but for four things.

The libraries are imported once and every rank is forked from that, at the start and after a failure: a group that has
failed is back without the seconds that the imports take. The ranks meet at 127.0.0.1, so that the machine's name may
resolve to nothing. Where a rank ends because its settings cannot work, this process has the same exit code and repeats
the rank's sentence. And unless the log is for a terminal, whatever torchrun, torch and the ranks print becomes lines of
JSON (`contracts.process.wrapping`).

This process imports, forks torchrun's agent for each group (`inference.ranks.agent`), and waits. It starts no thread
and touches no device, which a fork would not survive. The agent forks the ranks. Each process ends with its parent.
"""

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from msgspec import Struct

from contracts.bounds import Ranks
from contracts.process import env, garbage, lifetime, log, start, wrapping
from contracts.process.settings import LogSettings
from inference import early
from inference.settings import Settings

if TYPE_CHECKING:
    from inference.ranks.agent import Rank  # imports torch

SERVICE = "inference"
EX_FAILED = 1
_forked = get_context("fork")


class _Arguments(Struct, frozen=True):
    """The arguments of the command."""

    ranks: Ranks


class _Stop:
    """Passes the first signal to stop on to the running agent, and remembers it. Later signals change nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._agent: ForkProcess | None = None
        for number in lifetime.SIGNALS:
            signal.signal(number, self._on_signal)

    def start_unless_asked(self, agent: ForkProcess) -> bool:
        """Start the agent to which the signal will be passed on. If a signal has come, start none and return False."""
        signal.pthread_sigmask(signal.SIG_BLOCK, lifetime.SIGNALS)  # the agent unblocks them for itself
        try:
            if not self.asked:
                agent.start()
                self._agent = agent
            return not self.asked
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, lifetime.SIGNALS)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked and self._agent is not None and self._agent.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._agent.pid, number)
        self.asked = True


def main(arguments: list[str]) -> int:
    """Run the cluster until a signal stops it, and return this process's exit code. `arguments` has the ranks' number.

    Ends the process with a sentence for a number of ranks or for settings by which no rank can start.
    """
    with start.refusing(SERVICE):
        ranks = env.read(_Arguments, {"RANKS": arguments[0] if arguments else ""}).ranks
        early.check(env.read(Settings, {**os.environ, "WORLD_SIZE": str(ranks)}))
        asked = env.read(LogSettings)
    as_json = asked.log_format == "json" if asked.log_format else not sys.stdout.isatty()
    if as_json and not os.environ.get(wrapping.WRAPPED):
        wrapping.wrap(SERVICE, partial(print, flush=True))
    prepare(ranks)
    with garbage.frozen():
        from inference import launch  # noqa: PLC0415  # after the checks: it takes seconds
    return run(ranks, launch.main)


def prepare(ranks: int) -> None:
    """Set up this process's log, and the environment in which torch is imported for `ranks` ranks; call it before.

    Variables that are set already stay.
    """
    start.configure_log(SERVICE)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's, which would start threads here
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asks NVML for cards: CUDA would not survive a fork
    if ranks > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does: the ranks share the cores


def run(ranks: int, rank: "Rank") -> int:
    """Run groups of `ranks` ranks until a signal stops them, and return this process's exit code: that of the last.

    The libraries that `rank` needs should be imported already. After a group that ran and then failed comes the next
    one. A group that fails before it runs ends this process, whose supervisor can wait before it tries again.
    """
    from inference.ranks.agent import run_group  # noqa: PLC0415  # imports torch

    group_runs = _forked.Event()
    stop = _Stop()
    while True:
        agent = _forked.Process(target=run_group, args=(ranks, rank, group_runs.set))
        if not stop.start_unless_asked(agent):
            return 0
        agent.join()
        code = EX_FAILED if agent.exitcode is None or agent.exitcode < 0 else agent.exitcode
        if code == start.EX_CONFIG and (sentence := _sentence()):
            print(sentence, file=sys.stderr, flush=True)  # noqa: T201  # its last words
        if stop.asked or code in (0, start.EX_CONFIG) or not group_runs.is_set():
            return code
        log.get().warning("group_starts_again")
        group_runs.clear()


def _sentence() -> str:
    """Return the sentence of a rank that could not start; empty if none was left."""
    return start.left(Path(os.environ.get(start.REFUSALS, ""))).get(SERVICE, "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
