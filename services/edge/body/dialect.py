"""The two dialects of submissions: that of `/video/submit`, and that of `/v1/videos`, which other servers speak too.

The routes name one to `submit`, and `bodies` reads a body by it, here or in a child that gets the dialect's name. Pure.
"""

from collections.abc import Callable
from mmap import mmap

from msgspec import Struct

from contracts.job import JobRequest
from services.edge.body.members import PICTURE
from services.edge.body.parts import Parts
from services.edge.body.references import PICTURES, REFERENCE
from services.edge.body.submission import parse
from services.edge.body.video_submission import parse_video

STRINGS = frozenset({"prompt", "negative_prompt", "image_size", "sample_solver", "model"})
"""The fields whose values are texts, whatever they look like."""


class Dialect(Struct, frozen=True):
    """The names and forms in which an interface takes its requests.

    `parse` makes a request of a JSON body, or raises `Invalid`. `parts` are those of a form.
    """

    name: str
    parse: Callable[[bytes | mmap], JobRequest]
    parts: Parts


JOBS = Dialect(
    "jobs",
    parse,
    Parts("image", PICTURE, is_always_file=True, references=frozenset({PICTURE}), strings=STRINGS),
)
VIDEOS = Dialect(
    "videos",
    parse_video,
    Parts(
        REFERENCE,
        REFERENCE,
        is_always_file=False,
        references=frozenset(name + within for name in PICTURES for within in ("", "[]", "[image_url]")),
        strings=STRINGS | {"size", "seconds", "user"},
    ),
)
DIALECTS = {dialect.name: dialect for dialect in (JOBS, VIDEOS)}
