"""One result of a benchmark: two series of samples from the same rounds, and their ratio.

`worker` writes rows to its standard output, a JSON object a line; `engine` reads them.
"""

import statistics
import sys
from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Struct


class Series(Struct, frozen=True):
    """The samples of one side, a sample a round."""

    name: str
    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


class Verdict(StrEnum):
    """The verdict on a row: its aim is met by the median, by a quartile alone, or by neither, or the row has no aim."""

    NO_AIM = ""
    MET = "yes"
    WITHIN_SPREAD = "within the spread"
    MISSED = "no"


class Aim(Struct, frozen=True):
    """The bound that the ratio should meet, or the value if the row has no second series."""

    sign: Literal["≤", "≥"]
    value: float

    def met(self, value: float) -> bool:
        return value <= self.value if self.sign == "≤" else value >= self.value


class Row(Struct, frozen=True, kw_only=True):
    """The ratio `over` / `under` is taken round by round: drift of the machine hits both samples of a round alike."""

    part: str
    what: str
    unit: str
    over: Series
    under: Series | None = None
    aim: Aim | None = None

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each round, or the samples themselves if there is no `under`."""
        if self.under is None:
            return self.over.samples
        return [over / under for over, under in zip(self.over.samples, self.under.samples, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Return the lower and the upper quartile: half of the rounds lie between them."""
        if len(self.ratios) == 1:
            return self.ratio, self.ratio
        lower, _, upper = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return lower, upper

    @property
    def verdict(self) -> Verdict:
        """Return whether the ratio meets the aim; `WITHIN_SPREAD` if only one of the quartiles does."""
        if self.aim is None:
            return Verdict.NO_AIM
        if self.aim.met(self.ratio):
            return Verdict.MET
        return Verdict.WITHIN_SPREAD if any(map(self.aim.met, self.spread)) else Verdict.MISSED


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode


def write(row: Row) -> None:
    """Write a row as a line of JSON to the standard output, in one piece."""
    sys.stdout.write(_encode(row).decode() + "\n")
    sys.stdout.flush()


def read(line: str) -> Row:
    """Return the row of a line that `write` wrote. Raises `msgspec.MsgspecError` for any other line."""
    return _decode(line)
