"""List the served models in the form of `/v1/models`. Pure."""

from typing import Literal

from msgspec import Struct

from contracts.cluster import ClusterStatus

OWNER = "wanjet"


class Model(Struct, frozen=True, kw_only=True):
    """A model that a live cluster serves. `created` is since when, in Unix seconds."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = OWNER


class Models(Struct, frozen=True, kw_only=True):
    """The list of models."""

    object: Literal["list"] = "list"
    data: list[Model]


def models_of(clusters: list[ClusterStatus]) -> list[Model]:
    """Return the models of these clusters, each once, by name."""
    since: dict[str, int] = {}
    for cluster in clusters:
        started = int(cluster.started_at)
        since[cluster.model] = min(since.get(cluster.model, started), started)
    return [Model(id=name, created=since[name]) for name in sorted(since)]
