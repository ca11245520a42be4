"""Decide which requests need a key, and what a key must be allowed to do for each. Pure.

Closed by default: every path that is not listed here needs a key, and every method that is not known to read only needs
the scope `submit`. So a new route is closed until somebody opens it here.
"""

import re
from enum import Enum

from contracts.api_key import Scope
from services.edge.video_errors import speaks_v1

READING = ("GET", "HEAD", "OPTIONS")
"""The methods that change nothing."""
_OPEN = frozenset(("/", "/livez", "/readyz", "/health", "/metrics", "/openapi.json"))
_DOCS = re.compile(r"/docs(/[^/]+)?")
_ASKING = ("/video/status",)
"""The paths that are asked by POST and change nothing."""
_CANCEL = "/video/cancel"
_REMIX = "/remix"
_JOB_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
"""A longer run of these characters is no id; no route takes one for that."""


class Action(Enum):
    """Changes that a request can ask for, by the word that the log has for each."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    DELETE = "delete"
    REMIX = "remix"

    @property
    def makes_a_job(self) -> bool:
        """Return whether the change counts as a submission."""
        return self in (Action.SUBMIT, Action.REMIX)


def is_open(method: str, path: str) -> bool:
    """Return whether a request needs no key: probes, `/health`, `/metrics` and the documentation."""
    return method in ("GET", "HEAD") and (path in _OPEN or _DOCS.fullmatch(path) is not None)


def action_of(method: str, path: str) -> Action | None:
    """Return the change that a request asks for; None for one that reads only."""
    path = path.rstrip("/")
    if method in READING or (method == "POST" and path in _ASKING):
        return None
    if method == "DELETE":
        return Action.DELETE
    if path == _CANCEL:
        return Action.CANCEL
    return Action.REMIX if speaks_v1(path) and path.endswith(_REMIX) else Action.SUBMIT


def scope_for(action: Action | None) -> Scope:
    """Return the scope that a key must have for a change, or, for None, to read."""
    return "read" if action is None else "submit"


def job_ids_in(path: str) -> list[str]:
    """Return the ids of jobs in a path, of whatever route."""
    return _JOB_ID.findall(path)
