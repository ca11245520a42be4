"""Import a library without the packages that it would import and we never use, which would double a service's start."""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def left_out(*packages: str) -> Generator[None, None, None]:
    """Have imports inside the block find none of these packages, unless they are imported already.

    For libraries that go on without them. Afterwards the packages can be imported as ever.
    """
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]  # how Python marks a name that has no module
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
