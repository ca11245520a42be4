"""The counts of the whole service, folded from the events of the log, with the sequence up to which they are counted.

`counting` reads the events and keeps the counts in the broker. Pure. A label comes from a cluster and never from a
client, and is bounded all the same.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from contracts.process.metrics import LONG_S, OTHER, Labels, Spread, empty, note

MODELS_MAX = 16
NO_MODEL = "none"
"""Stands for the model of a job that no cluster has begun."""
UNKNOWN_MODEL = "unknown"
"""Stands for the model of a job begun by a cluster that does not say it."""
ENDINGS = ("succeeded", "failed", "cancelled")
BETWEEN = "/"
"""Stands between ending and model in a key; no ending has one."""


class Counts(Struct):
    """The counts since the log began, as they stand in the broker.

    `log` tells this log from one that was made anew, whose sequences begin anew; `sequence` is that of the last event
    that is counted. Keys are models, or ending and model. Spreads are in seconds, over `LONG_S`.
    """

    log: str
    sequence: int = 0
    accepted: int = 0
    begun: dict[str, int] = field(default_factory=lambda: {"first": 0, "further": 0})
    released: int = 0
    ended: dict[str, int] = {}
    waited: dict[str, Spread] = {}
    ran: dict[str, Spread] = {}


class Accepted(Struct, frozen=True):
    """A job was accepted."""


class Begun(Struct, frozen=True):
    """An attempt was begun: the job's first after it had waited `waited_s`, or a further one, with None."""

    model: str
    waited_s: float | None


class Released(Struct, frozen=True):
    """An attempt was handed back by a cluster that was told to stop."""


class Ended(Struct, frozen=True):
    """A job has ended; `ran_s` is the time since its first attempt began, None if none had."""

    ending: str
    model: str
    ran_s: float | None


Fact = Accepted | Begun | Released | Ended


def counted(counts: Counts, fact: Fact) -> None:
    """Count a fact."""
    match fact:
        case Accepted():
            counts.accepted += 1
        case Begun(model, waited_s):
            counts.begun["further" if waited_s is None else "first"] += 1
            if waited_s is not None:
                _note(counts.waited, _kept(model, counts.waited), waited_s)
        case Released():
            counts.released += 1
        case Ended(ending, model, ran_s):
            model = _kept(model, {key.partition(BETWEEN)[2]: 0 for key in counts.ended})
            key = f"{ending}{BETWEEN}{model}"
            counts.ended[key] = counts.ended.get(key, 0) + 1
            if ran_s is not None:
                _note(counts.ran, key, ran_s)


def by_label(values: Mapping[str, int | Spread]) -> dict[Labels, float | Spread]:
    """Return counts by one label, such as the model, by the labels of their series."""
    return {(key,): value for key, value in values.items()}


def by_ending_and_model(values: Mapping[str, int | Spread]) -> dict[Labels, float | Spread]:
    """Return counts by ending and model by the labels of their series."""
    return {tuple(key.split(BETWEEN, 1)): value for key, value in values.items()}


def ended_by_labels(counts: Counts) -> dict[Labels, float | Spread]:
    """Return the jobs by ending and model; 0 for each ending that no job without a model had."""
    none: dict[Labels, float | Spread] = {(ending, NO_MODEL): 0 for ending in ENDINGS}
    return none | by_ending_and_model(counts.ended)


def anew(counts: Counts | None, log: str) -> Counts:
    """Return the counts to go on with: these if they are of this log, else none."""
    return Counts(log) if counts is None or counts.log != log else counts


def _kept(model: str, known: dict[str, Spread] | dict[str, int]) -> str:
    """Return the model, or `OTHER` for a new one beyond `MODELS_MAX`."""
    return model if model in known or len(known) < MODELS_MAX else OTHER


def _note(spreads: dict[str, Spread], key: str, seconds: float) -> None:
    note(spreads.setdefault(key, empty(LONG_S)), LONG_S, max(0.0, seconds))
