"""Say how far a stage is while it runs, by counting the calls of modules. `encode` and `vae.codec` use it.

Each rank counts what it has done itself, without a collective. The hooks read no tensor and change none, so that what
is made stays the same bit for bit.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from torch import nn

Report = Callable[[float], None]
"""Called with the share of a piece of work, from 0 to 1, that is done."""


class Work(Struct, frozen=True):
    """The work of one call of a module, in any unit: of its first call, and of each call after that."""

    module: nn.Module
    first: float = 1.0
    later: float = 1.0


def ignore_share(_share: float) -> None:
    """Ignore the share; the default where nobody asks how far the work is."""


def part_of(report: Report, begin: float, end: float) -> Report:
    """Return a report for a part of the work, which is all of the work from the share `begin` to the share `end`."""
    return lambda share: report(begin + share * (end - begin))


@contextmanager
def counted(works: Iterable[Work], calls: int, report: Report) -> Generator[None, None, None]:
    """Call `report` inside the block after each call of one of these modules, each of which is called `calls` times."""
    works = list(works)
    total = sum(work.first + (calls - 1) * work.later for work in works)
    done, called = 0.0, set[nn.Module]()

    def after(work: Work) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, _output: Any) -> None:
            nonlocal done
            done += work.later if work.module in called else work.first
            called.add(work.module)
            report(min(1.0, done / total))

        return hook

    hooks = [work.module.register_forward_hook(after(work)) for work in works]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
