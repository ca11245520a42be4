"""What remains of an ended job beside the videos: one small file, from which its log and status can be made anew. Pure.

Beside a video it has the video's name; that of a job without one lies in a folder of its own.
"""

from msgspec import Struct

from contracts.events import Ending, JobSubmitted, JobSucceeded
from contracts.job import is_job_id

FORMAT = 1
WITHOUT_VIDEO = "jobs"  # the folder
SUFFIX = ".json"


class Record(Struct, frozen=True, kw_only=True):
    """`submitted` is None where the log no longer knew it, or could not read it."""

    submitted: JobSubmitted | None
    ending: Ending
    format: int = FORMAT


def is_record(name: str) -> bool:
    """Whether a file of the store has the name of one."""
    folder, _, file = name.rpartition("/")
    return folder in ("", WITHOUT_VIDEO) and file.endswith(SUFFIX) and is_job_id(file.removesuffix(SUFFIX))


def video_record_name(job_id: str) -> str:
    return job_id + SUFFIX


def record_name(ending: Ending) -> str:
    name = video_record_name(ending.job_id)
    return name if isinstance(ending, JobSucceeded) else f"{WITHOUT_VIDEO}/{name}"
