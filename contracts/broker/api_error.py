"""The error that an answer of JetStream's API holds, by its codes."""

import json

from msgspec import Struct


class ApiError(Struct, frozen=True):
    """The codes of a JetStream error; zeros if the answer is no error."""

    code: int = 0
    err_code: int = 0


NONE = ApiError()


def error_in(answer: bytes) -> ApiError:
    """Return the codes of the error in an answer; zeros if it has none, or if they cannot be read."""
    if b'"error":' not in answer:
        return NONE
    try:
        error = json.loads(answer)["error"]
        return ApiError(int(error.get("code", 0)), int(error.get("err_code", 0)))
    except (ValueError, TypeError, LookupError, AttributeError):
        return NONE
