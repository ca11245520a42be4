"""The record of an ended job: a small file beside the videos, from which its log and status can be made anew. Pure.

Rank 0 and the state service write records; `restore` reads them. The record of a job with a video has the video's name;
the record of a job without one lies in a folder of its own.
"""

from msgspec import Struct

from contracts.events import Ending, JobSubmitted, JobSucceeded
from contracts.job import is_job_id

FORMAT = 1
WITHOUT_VIDEO = "jobs"  # the folder
SUFFIX = ".json"


class Record(Struct, frozen=True, kw_only=True):
    """An ended job. `submitted` is None if the log no longer held the submission, or could not be read."""

    submitted: JobSubmitted | None
    ending: Ending
    format: int = FORMAT


def is_record(name: str) -> bool:
    """Return whether a file name in the store of videos is that of a record."""
    folder, _, file = name.rpartition("/")
    return folder in ("", WITHOUT_VIDEO) and file.endswith(SUFFIX) and is_job_id(file.removesuffix(SUFFIX))


def video_record_name(job_id: str) -> str:
    """Return the name of the record beside a job's video."""
    return job_id + SUFFIX


def record_name(ending: Ending) -> str:
    """Return the name of the record of an ended job: beside its video, or in the folder of jobs without one."""
    name = video_record_name(ending.job_id)
    return name if isinstance(ending, JobSucceeded) else f"{WITHOUT_VIDEO}/{name}"
