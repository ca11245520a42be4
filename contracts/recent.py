"""A dict of bounded size, which forgets the entries that were set longest ago."""

from collections.abc import Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(dict[Key, Value]):
    """A dict of at most `count` entries. To set an entry makes it the latest, and forgets the oldest one if it must."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __setitem__(self, key: Key, value: Value) -> None:
        """Set an entry as the latest."""
        self.pop(key, None)
        while len(self) >= self._count:
            del self[next(iter(self))]
        super().__setitem__(key, value)
