"""Write the time as log lines have it, three times as fast as `datetime`. `log` calls it for every request."""

import time


class _Second:
    """The second that was written last, and its text."""

    second, text = 0, ""


def iso(at_ns: int | None = None) -> str:
    """Return a time in nanoseconds since 1970, or the time now, in UTC to the microsecond as ISO 8601 has it."""
    second, nanoseconds = divmod(time.time_ns() if at_ns is None else at_ns, 1_000_000_000)
    if second != _Second.second:
        _Second.second, _Second.text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return f"{_Second.text}.{nanoseconds // 1000:06d}Z"
