"""What an attack is, and which there are: one file each in `kinds/`."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from tests.attacks.pressure import Pressure

KINDS = Path(__file__).parent / "kinds"


class _Press(Protocol):
    async def __call__(self, pressure: Pressure) -> None: ...


@dataclass(frozen=True)
class Attack:
    """One attack. `press` runs in a process of its own until it is ended; it calls `pressure.stands()` once all of
    its requests are made or its connections held. `variables` go to the edge. Legitimate clients are watched for
    `hold_s` seconds from then on."""

    name: str
    title: str
    press: _Press
    hold_s: float
    variables: dict[str, str]


def names() -> list[str]:
    return sorted(path.stem for path in KINDS.glob("*.py"))


def attack(name: str) -> Attack:
    """Return the attack that the file of this name describes: `TITLE`, `press`, and perhaps `HOLD_S`, `VARIABLES`."""
    module = import_module(f"tests.attacks.kinds.{name}")
    return Attack(
        name=name,
        title=cast("str", module.TITLE),
        press=cast("_Press", module.press),
        hold_s=cast("float", getattr(module, "HOLD_S", 20.0)),
        variables=cast("dict[str, str]", getattr(module, "VARIABLES", {})),
    )
