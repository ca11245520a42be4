"""Say in plain English which values a type allows, for the API's 400s, for settings and for files. Pure.

A type carries its bounds as msgspec's `Meta`, and any further rule as a `Form` in `Meta(extra=…)`.
"""

from collections.abc import Callable
from typing import Any, cast

from msgspec import Struct, inspect

FORM = "form"
"""The key of `Meta(extra=…)` under which a type carries its `Form`."""


class Form(Struct, frozen=True):
    """A rule for values that msgspec's own bounds cannot express: the words for it, and a test of a converted value.

    `fault` says more about a value that breaks the rule; None if the words say enough. The values of a form that
    `is_secret` are never shown.
    """

    words: str
    holds: Callable[[Any], bool] = lambda _value: True
    fault: Callable[[Any], str | None] = lambda _value: None
    is_secret: bool = False


def form(
    words: str,
    holds: Callable[[Any], bool] = lambda _value: True,
    fault: Callable[[Any], str | None] = lambda _value: None,
    *,
    is_secret: bool = False,
) -> dict[str, Any]:
    """Return the `extra` of a `Meta` that gives a type this form."""
    return {FORM: Form(words, holds, fault, is_secret)}


def form_of(kind: inspect.Type) -> Form | None:
    """Return the form that a type carries; None for a type without one."""
    extra = cast("dict[str, Any]", (kind.extra or {}) if isinstance(kind, inspect.Metadata) else {})
    found = extra.get(FORM)
    return found if isinstance(found, Form) else None


def may_be(kind: object) -> str:
    """Return the values that a type allows, in words such as "a whole number from 1 to 5"."""
    return _words(inspect.type_info(kind))


def _words(kind: inspect.Type) -> str:  # noqa: C901, PLR0912  # a table
    """Return the values of a type in words: those of its form if it carries one; "left out" for an unlisted type."""
    if (found := form_of(kind)) is not None:
        return found.words
    match kind:
        case inspect.Metadata(type=inner):
            return _words(inner)
        case inspect.UnionType(types=types):
            return " or ".join(_words(one) for one in types)
        case inspect.IntType():
            return f"a whole number{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.StrType(min_length=low, max_length=high):
            return f"text{_between(low, high)}{' characters' if high else ''}"
        case inspect.LiteralType(values=values):
            return " or ".join(str(value) for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case inspect.ListType(item_type=item, min_length=low, max_length=high):
            count = _between(low, high).replace(" from ", " of ") + (" values" if low or high else "")
            return f"a list{count}, each of it {_words(item)}"
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)}: {', '.join(_words(item) for item in items)}"
        case inspect.VarTupleType(item_type=item):
            return f"a list, parted by commas, each of it {_words(item)}"
        case _:
            return "left out"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    """Return the bounds of a number in words, with a leading blank; empty without bounds."""
    if kind.gt is None:
        return _between(kind.ge, kind.le)
    return f" above {kind.gt}" if kind.le is None else f" above {kind.gt} and up to {kind.le}"


def _between(low: float | None, high: float | None) -> str:
    """Return a pair of inclusive bounds in words, with a leading blank; empty without bounds."""
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {_number(low)}"
    return f" of at most {_number(high)}" if low is None else f" from {_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    """Return a bound as people write it: a whole number from 1000 on has no fraction and no exponent."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() and value >= 1000 else str(value)
