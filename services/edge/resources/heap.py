"""Gives freed memory back to the kernel, which glibc by itself keeps for later."""

import ctypes
from collections.abc import Callable
from typing import Any, cast

_malloc_trim = cast("Callable[[int], Any] | None", getattr(ctypes.CDLL(None), "malloc_trim", None))


def give_back_memory() -> None:
    """Take some milliseconds to return whole pages that are free; a C library without the means returns none."""
    if _malloc_trim is not None:
        _malloc_trim(0)
