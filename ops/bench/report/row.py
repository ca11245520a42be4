"""One line of what was measured: two series of the same rounds and their ratio. Knows not what they are of."""

import statistics
import sys
from typing import Literal

import msgspec
from msgspec import Struct


class Series(Struct, frozen=True):
    name: str
    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


class Aim(Struct, frozen=True):
    """What the ratio, or without one the value, should be."""

    sign: Literal["≤", "≥"]
    value: float

    def met(self, value: float) -> bool:
        return value <= self.value if self.sign == "≤" else value >= self.value


class Row(Struct, frozen=True, kw_only=True):
    """`ratio` is `over` / `under`, round by round: drift of the machine hits both of a round alike."""

    part: str
    what: str
    unit: str
    over: Series
    under: Series | None = None
    aim: Aim | None = None

    @property
    def ratios(self) -> list[float]:
        """By rounds; without a series to set it against, the values themselves."""
        if self.under is None:
            return self.over.samples
        return [over / under for over, under in zip(self.over.samples, self.under.samples, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles: half of the rounds lie between them."""
        if len(self.ratios) == 1:
            return self.ratio, self.ratio
        lower, _, upper = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return lower, upper

    @property
    def verdict(self) -> str:
        if self.aim is None:
            return ""
        if self.aim.met(self.ratio):
            return "yes"
        return "within the spread" if any(map(self.aim.met, self.spread)) else "no"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode


def tell(row: Row) -> None:
    """To the process that asked for it, in one piece."""
    sys.stdout.write(_encode(row).decode() + "\n")
    sys.stdout.flush()


def told(line: str) -> Row:
    return _decode(line)
