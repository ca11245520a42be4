"""Runs a command whose log has lines of JSON alone: `python -m ops.local.json_lines SERVICE FILE COMMAND…`.

supervisord.conf starts every process so, and `supervisor` supervisord itself. What the command and its children print
goes to FILE, each line as JSON. This process becomes the command, which so keeps its pid, and gets SIGTERM when its
parent dies (as by `ops.local.die_with_parent`).
"""

import os
import sys

from ops.local.die_with_parent import PARENT, tie_to_parent

FILE_BYTES_MAX = 10_000_000
OLDER_FILES = 1


def main(service: str, file: str, *command: str) -> None:
    """Become the command, with its output wrapped. Never returns. Raises `OSError` if the file cannot be written to."""
    tie_to_parent()  # before the other imports, during which the parent may die
    from logging import makeLogRecord  # noqa: PLC0415
    from logging.handlers import RotatingFileHandler  # noqa: PLC0415

    from contracts.process import wrapping  # noqa: PLC0415

    handler = RotatingFileHandler(file, maxBytes=FILE_BYTES_MAX, backupCount=OLDER_FILES, encoding="utf-8")
    wrapping.wrap(service, lambda line: handler.emit(makeLogRecord({"msg": line})))
    os.environ[wrapping.WRAPPED] = "1"
    os.environ[PARENT] = str(os.getpid())  # of the command, for the children that it starts
    os.execvp(command[0], command)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main(*sys.argv[1:])
