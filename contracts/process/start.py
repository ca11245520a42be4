"""Refuse a start that cannot succeed: a sentence, an exit code of its own, and the sentence left for the supervisor.

Every process enters `refusing` in its `__main__`. A supervisor knows the exit code as "another try would end alike",
and `ops.local.ready` shows the sentence, however deep in the log of torchrun it stands.
"""

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from contracts.process import env, log, misspelt
from contracts.process.env import BadSetting
from contracts.process.settings import LogSettings

EX_CONFIG = 78  # sysexits.h
REFUSALS = "WANJET_REFUSALS"
"""The variable that names the folder where sentences are left; without it sentences are only printed."""
SENTENCE_BYTES_MAX = 8192
LIVED_S_MIN = 1.2
"""supervisord restarts a process that ends within its `startsecs`, which is 1, whatever the exit code."""


@contextmanager
def refusing(service: str) -> Generator[None, None, None]:
    """End the process with `EX_CONFIG` if the block raises `BadSetting`, with its sentence on standard error.

    With a supervisor (`REFUSALS` is set) the sentence is left for it too, and the process lives `LIVED_S_MIN` at least.
    """
    began = time.monotonic()
    try:
        yield
    except BadSetting as refusal:
        sentence = log.escaped(str(refusal))
        leave(service, sentence)
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201  # its last words
        if os.environ.get(REFUSALS):
            time.sleep(max(0.0, LIVED_S_MIN - (time.monotonic() - began)))
        sys.exit(EX_CONFIG)


def leave(service: str, sentence: str) -> None:
    """Write the sentence to the file `service` in the folder that `REFUSALS` names, for the supervisor.

    Does nothing if the variable is not set, or the folder cannot be written to. Of several ranks the last one's stays.
    """
    folder = os.environ.get(REFUSALS)
    if not folder:
        return
    with suppress(OSError):
        written = Path(folder) / f".{service}.{os.getpid()}"
        written.write_text(sentence)
        written.replace(Path(folder) / service)


def left(folder: Path) -> dict[str, str]:
    """Return the sentences that processes have left in a folder, by service; empty for a folder that cannot be read.

    Each is cut after `SENTENCE_BYTES_MAX`.
    """
    found: dict[str, str] = {}
    with suppress(OSError):
        for file in sorted(folder.iterdir()):
            if not file.name.startswith("."):
                with suppress(OSError):
                    found[file.name] = file.read_bytes()[:SENTENCE_BYTES_MAX].decode(errors="replace")
    return found


def configure(service: str, *, own_stdout: bool = False, **facts: object) -> None:
    """Set up the log of a process as `configure_log` does, and log a warning for each variable near a setting's name.

    Raises `BadSetting`.
    """
    configure_log(service, own_stdout=own_stdout, **facts)
    misspelt.warn()


def configure_log(service: str, *, own_stdout: bool = False, **facts: object) -> None:
    """Set up the log of a process as `LOG_LEVEL` and `LOG_FORMAT` say; the rest is as in `log.configure`.

    Raises `BadSetting`.
    """
    asked = env.read(LogSettings)
    log.configure(service, level=asked.log_level, form=asked.log_format, own_stdout=own_stdout, **facts)
