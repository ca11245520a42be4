"""Give most of the requests that a document allows a picture that can be read: no schema says what a picture is."""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from zlib import crc32

from services.edge.body.references import PICTURES
from tests.kit.edge import picture

PICTURE = picture()
KEPT_EVERY = 4
"""Every so many requests keep the address that was made up."""


hook: Callable[[Any], Any] = import_module("schemathesis").hook
"""It has no types; `just fuzz` installs it."""


@hook
def map_case(context: Any, case: Any) -> Any:
    """Put the picture where the request has one."""
    is_allowed = case.meta is not None and case.meta.generation.mode.is_positive
    if is_allowed and isinstance(case.body, dict) and crc32(repr(case.body).encode(errors="replace")) % KEPT_EVERY:
        for name in PICTURES:
            if case.body.get(name) is not None and not isinstance(case.body[name], bytes):
                case.body[name] = PICTURE
    return case
