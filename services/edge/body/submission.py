"""Parse the body of a submission into a `JobRequest`, or object to every faulty field at once. Pure.

`bodies` calls `parse` for a small body, and the child `body_reader` for a large one. The cost grows with the body's
size alone: values of known fields are read, everything else is skipped without an object being made of it, and the
objections take a few kilobytes whatever the body holds.
"""

from mmap import mmap

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.json_body import NotJson
from services.edge.body.members import Given, Names, request_of
from services.edge.errors import Invalid

_NAMES = Names(JobRequest.__struct_fields__)


def parse(body: bytes | mmap) -> JobRequest:
    """Return the request in a JSON body; a field that is null counts as left out.

    Raises `Invalid` with all faulty fields, or for a body that is no JSON object in UTF-8.
    """
    try:
        members, wrong = _NAMES.read(body)
        return request_of({name: [Given(name, raw)] for name, raw in members.items()}, wrong)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Invalid([Objection("body", str(json_body.not_utf8(body)))]) from error
