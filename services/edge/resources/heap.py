"""Return freed memory to the kernel, which glibc otherwise keeps for later. `spool` calls it after a load."""

import ctypes
from collections.abc import Callable
from typing import Any, cast

_malloc_trim = cast("Callable[[int], Any] | None", getattr(ctypes.CDLL(None), "malloc_trim", None))


def give_back_memory() -> None:
    """Return whole free pages to the kernel, which takes some milliseconds. Only glibc can; elsewhere do nothing."""
    if _malloc_trim is not None:
        _malloc_trim(0)
