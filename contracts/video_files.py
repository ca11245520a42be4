"""The files that belong to a job's video in the store of videos: pictures made of it, and its record. Pure.

Rank 0 writes them, the edge serves the pictures, and whoever deletes a video deletes all of them.
"""

from typing import Literal

from contracts.job import is_job_id, job_id_in, video_name
from contracts.record import WITHOUT_VIDEO, video_record_name

Variant = Literal["thumbnail", "spritesheet"]
"""`thumbnail`: one frame; `spritesheet`: a grid of frames in their order."""
VARIANTS: tuple[Variant, ...] = ("thumbnail", "spritesheet")
PICTURE_SUFFIX = ".webp"


def picture_name(job_id: str, variant: Variant) -> str:
    """Return the name of a picture of a job's video in the store of videos."""
    return f"{job_id}-{variant}{PICTURE_SUFFIX}"


def picture_names(job_id: str) -> list[str]:
    """Return the names of all pictures of a job's video."""
    return [picture_name(job_id, variant) for variant in VARIANTS]


def is_picture(name: str) -> bool:
    """Return whether a file name in the store of videos is that of a picture of some job's video."""
    job_id = job_id_in(name)
    return is_job_id(job_id) and name in picture_names(job_id)


def names_with_video(job_id: str) -> list[str]:
    """Return the names of a job's video and of all files beside it, in the order in which to delete them.

    The video is the last: as long as it is there, a clean-up finds what an interrupted deletion has left.
    """
    return [video_record_name(job_id), *picture_names(job_id), video_name(job_id)]


def files_of(job_id: str) -> list[str]:
    """Return the names of all files that a job may have in the store of videos; the video is the last."""
    return [f"{WITHOUT_VIDEO}/{video_record_name(job_id)}", *names_with_video(job_id)]
