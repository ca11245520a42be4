"""Counts the bytes of tensors that have no storage: PyTorch's fake tensors, on which any code runs at any size.

`phases` measures with it what a 14B needs, on a machine that could not hold it.
"""

import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed._tools import fake_collectives
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAIT = torch.ops._c10d_functional.wait_tensor.default  # noqa: SLF001  # it has no public name

DROPOUT = torch.ops.aten.dropout.default


class Storages(TorchDispatchMode):
    """Counts every storage from its making to its end: `held` bytes now, and their `peak` since `forget_peak`.

    Tensors on the meta device count as nothing. Lives for one measurement.
    """

    def __init__(self) -> None:
        super().__init__()
        assert fake_collectives, "imported for its registrations: what collectives return on fake tensors"
        self.held = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._ends: dict[int, weakref.ref[Any]] = {}
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    @contextmanager
    def counting(self) -> Generator[None]:
        """Run the block on fake tensors, and count their storages, also when they are resized, as FSDP2 does."""
        resize: Callable[[Any, int], Any] = torch.UntypedStorage.resize_

        def resize_and_count(self_: Any, size: int) -> Any:
            resize(self_, size)
            if _identity(self_) in self._sizes:
                self._count(self_)
            return self_

        with patch.object(torch.UntypedStorage, "resize_", resize_and_count), self._fake, self:
            yield

    def forget_peak(self) -> int:
        """Return the peak, and begin anew at what is held now."""
        peak, self.peak = self.peak, self.held
        return peak

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is WAIT or (func is DROPOUT and not args[2]):
            return args[0]  # as on a device; the stand-ins for fake tensors would make a second one
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, FakeTensor) and each.device.type != "meta":
                self._count(each.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = _identity(storage), storage.nbytes()
        if key not in self._sizes:
            self._ends[key] = weakref.ref(storage, lambda _: self._end(key))
        self.held += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self.peak = max(self.peak, self.held)

    def _end(self, key: int) -> None:
        self.held -= self._sizes.pop(key)
        del self._ends[key]


def _identity(storage: torch.UntypedStorage) -> int:
    return storage._cdata  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
