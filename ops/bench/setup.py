"""The settings of one benchmark run: what is measured, at which size, how often.

`engine` reads them from its command line and hands them to `worker` as JSON.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from contracts.job import ImageSize, Job

ShapeName = Literal["tiny", "pocket", "14b"]
Variant = Annotated[str, Meta(pattern=r"^(stock|ours|(compile|fp8|cache)(\+(compile|fp8|cache))*)\Z")]

PROMPT = "a small boat sails over a calm sea"


class Setup(Struct, frozen=True, kw_only=True):
    """The settings of one run. `count` is the number of rounds; `ranks` are the sizes of the groups that share a job.

    `layers` are the transformer's, None for those of the shape. `threads` are those of each process. `film_size` and
    `film_frames` belong to the video that the part `mp4` encodes.
    """

    shape: ShapeName = "pocket"
    layers: Annotated[int, Meta(ge=1, le=1000)] | None = None
    size: ImageSize = "256*144"
    frames: Annotated[int, Meta(ge=5, le=121)] = 25
    steps: Annotated[int, Meta(ge=3, le=100)] = 4
    guidance: Annotated[float, Meta(ge=1, le=20)] = 5.0
    count: Annotated[int, Meta(ge=1, le=1000)] = 15
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    ranks: tuple[Annotated[int, Meta(ge=2, le=1024)], ...] = (2, 4)
    film_size: ImageSize = "1280*720"
    film_frames: Annotated[int, Meta(ge=5, le=121)] = 81
    variants: tuple[Variant, ...] = ("ours", "compile", "compile+fp8", "compile+cache", "compile+fp8+cache")

    @property
    def job(self) -> Job:
        """Return the job of these settings; it may be shorter than a client could ask for."""
        return Job(
            prompt=PROMPT,
            image_size=self.size,
            num_frames=self.frames,
            seed=1,
            infer_steps=self.steps,
            guidance_scale=self.guidance,
        )

    @property
    def cached_job(self) -> Job:
        """Return the job with a cache rule under which only the first and the last step compute self-attention."""
        rule = {"start_step": 0, "attentioncache_interval": self.steps, "end_step": self.steps}
        return replace(self.job, use_attentioncache=True, **rule)
