"""A rank of test_monitor.py: watches the other one, and does what it is told. Prints what it hears."""

import os
import signal
import sys
import threading

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from inference.ranks import monitor
from inference.ranks.monitor import FailureReport, GroupMonitor

END_S = 30
monitor.SILENT_BEATS_MAX = 8


def say(*words: object) -> None:
    sys.stdout.write("|".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(rank: int, port: int, deed: str) -> None:
    store = TCPStore("127.0.0.1", port, 2, is_master=rank == 0)
    heard = threading.Event()

    def on_failure(failure: FailureReport) -> None:
        say("words", failure.job_id, failure.attempt, failure.reason)
        heard.set()

    listens = rank == 0
    watching = GroupMonitor(
        store,
        rank,
        2,
        memory=lambda: {"allocated": 10 + rank} if deed == "say memory" else {},
        on_failure=on_failure if listens else None,
        on_abort=lambda why: say("down", why),
    )
    with watching.running():
        match deed:
            case "sleep":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "report a failure":
                watching.report_failure(FailureReport("job", 2, "it broke"))
                heard.wait(END_S if listens else 2)
            case "hear memory":
                while not watching.memory():
                    heard.wait(monitor.HEARTBEAT_S)
                say("memory", watching.memory())
                watching.abort_group("heard")
            case "abort":
                watching.abort_group("as told")
                heard.wait(END_S)
            case _:
                heard.wait(END_S)
    say("ended in order")


if __name__ == "__main__":
    monitor.LAST_ACTS_S = 0.1
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
