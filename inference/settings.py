"""The settings of a rank. Imports no torch, so that a wrong value ends a start before torch is loaded."""

import socket
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from contracts.bounds import NAME_CHARS_MAX, RANKS_MAX, Ranks
from contracts.plan import Part
from contracts.process.broker_settings import BrokerSettings
from contracts.process.settings import (
    ATTEMPTS_MAX,
    Gigabytes,
    Host,
    PortOrOff,
    PublicUrl,
    StoreUrl,
    Wait,
)
from inference.pocket import POCKET_FOLDER

CHECKPOINT_INTERVAL_S_MAX = 86_400
STAGE_FLOOR_S = 60.0


class Settings(BrokerSettings, frozen=True):
    """The settings of a cluster, as the operator sets them; torchrun sets the first three for each rank."""

    rank: Annotated[int, Meta(ge=0, le=RANKS_MAX - 1)] = 0
    local_rank: Annotated[int, Meta(ge=0, le=RANKS_MAX - 1)] = 0
    world_size: Ranks = 1
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"
    metrics_host: Host = "0.0.0.0"  # noqa: S104  # Prometheus asks from another machine
    metrics_port: PortOrOff = 0
    model_ckpt_dir: Path = POCKET_FOLDER
    pocket_large_sizes: bool = False
    cluster_name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)] = socket.gethostname()
    plan: tuple[Part, ...] = ()
    public_url: PublicUrl = None
    task_timeout: Wait = 1800
    stage_timeout: Wait = 900
    stage_timeout_floor: Wait = STAGE_FLOOR_S
    max_attempts: Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)] = 3
    checkpoint_interval: Annotated[float, Meta(ge=0, le=CHECKPOINT_INTERVAL_S_MAX)] = 60.0
    min_free_space: Gigabytes = 0.1
    attention_backend: Annotated[str, Meta(max_length=NAME_CHARS_MAX)] | None = None
    compile_blocks: bool = False
    fp8_linear: bool = False
    offload_text_encoder: bool = False
    offload_picture_models: bool = False

    def contradictions(self) -> list[str]:
        """Return a sentence if the floor was set above the limit, and those of the broker.

        A default floor gives way to the limit.
        """
        floor, limit = self.stage_timeout_floor, self.stage_timeout
        if floor <= limit or floor == STAGE_FLOOR_S:
            return BrokerSettings.contradictions(self)
        wrong = [f"STAGE_TIMEOUT_FLOOR was {floor:g}; it must be at most STAGE_TIMEOUT {limit:g}"]
        return [*BrokerSettings.contradictions(self), *wrong]
