"""Turns the signals that end a command into one `SystemExit`, so that `finally` blocks run. Commands call it first."""

import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def exit_on_signals(code: int | None = None) -> None:
    """Have SIGINT, SIGTERM and SIGHUP raise `SystemExit` in the main thread, with `code` or 128 + the signal's number.

    Only the first signal counts: a second Ctrl-C does not cut the orderly end short. Call it in the main thread.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number if code is None else code)

    for number in ENDING:
        signal.signal(number, end)
