"""Find variables whose names are nearly those of settings: a misspelt variable changes nothing, and nobody would know.

Every process warns of them at its start; `members` looks for nearly right names of fields with the same `nearest`.
"""

import os
from collections.abc import Iterable, Mapping

from contracts.process import log

KNOWN = (
    "ACK_WAIT", "ADDRESS_SUBMISSIONS_A_MINUTE", "ALLOWED_HOSTS", "AUTH", "TENANT_SUBMISSIONS_A_MINUTE",
    "TRUSTED_PROXIES",
     "ATTENTION_BACKEND", "BODIES_BYTES_MAX", "CHECKPOINT_INTERVAL", "CLEANUP_INTERVAL",
    "CLUSTER_NAME", "PUBLIC_URL", "COMPILE_BLOCKS", "EVENT_RETENTION", "FP8_LINEAR", "ALLOWED_ORIGINS", "KEEP_ALIVE",
    "LEFTOVER_MIN_AGE", "LOCAL_RANK", "LOG_FORMAT", "LOG_LEVEL",
    "METRICS_HOST", "METRICS_PORT",
    "LOG_BYTES_MAX", "MAX_ATTEMPTS", "MAX_CONCURRENT_TASKS", "MAX_OUTPUT_DIR_SIZE", "MIN_FREE_SPACE", "MODEL_CKPT_DIR",
    "NATS_CA", "NATS_CERT", "NATS_CERT_KEY", "NATS_CREDS", "NATS_DURABILITY_UNCHECKED", "NATS_KEYS",
    "NATS_LISTEN", "NATS_MONITOR", "NATS_MONITOR_URLS", "NATS_REPLICAS",
    "NATS_URL", "OFFLOAD_PICTURE_MODELS", "OFFLOAD_TEXT_ENCODER", "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER", "OUTBOUND_ALLOWED_NETWORKS",
    "OUTBOUND_ALLOWED_PORTS", "OUTBOUND_CONTACT",
    "PLAN",
    "POCKET_LARGE_SIZES", "RANK", "RANKS", "READY_WITHIN", "SCRATCH_STORE_URL", "SERVER_HOST", "SERVER_PORT",
    "SHOW_ALL_JOBS",
    "STAGE_TIMEOUT", "STAGE_TIMEOUT_FLOOR", "STARTING_MAX", "STREAM_BYTES_MAX", "TASK_RETENTION", "TASK_TIMEOUT",
    "TENANT_JOBS_MAX", "TLS_CERT", "TLS_KEY", "TRACES_FILE",
    "PUBLIC_URL", "WEBHOOK_PAUSES_SCALE", "WEBHOOK_SECRET",
    "UNWELL_MAX", "VIDEO_MIN_AGE", "VIDEO_STORE_URL", "WANJET_FOLDER", "WORLD_SIZE",
)  # fmt: skip
"""Every setting of every process; a test compares it with the structs."""

OTHERS = ("LOCAL_WORLD_SIZE", "NATS_STORE", "NATS_NAME", "NATS_CLUSTER", "NATS_ROUTES", "NATS_SERVER_BIN")
"""Variables that are near a setting, and meant for torchrun or the broker."""

LONG_CHARS_MIN = 8
"""The length from which on two letters may be wrong; in a shorter name only one may."""


def misspelt(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with a value that are one or two letters off a setting, each with the setting meant."""
    return {
        name: meant
        for name, value in environ.items()
        if value and name not in KNOWN and name not in OTHERS and (meant := nearest(name.upper(), KNOWN)) is not None
    }


def warn(environ: Mapping[str, str] = os.environ) -> None:
    """Log a warning for each misspelt variable."""
    for name, meant in misspelt(environ).items():
        log.get().warning("setting_not_known", variable=name, hint=f"{name} is no setting; is {meant} meant?")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the nearest of these names that is at most two letters off, one if it is short; None if none is."""
    found = [(distance, known) for known in names if (distance := _distance(name, known)) <= _tolerated(known)]
    return min(found)[1] if found else None


def _tolerated(known: str) -> int:
    """Return how many letters may be wrong in this name."""
    return 2 if len(known) >= LONG_CHARS_MIN else 1


def _distance(one: str, other: str) -> int:
    """Return how many letters were left out, added or changed (edit distance); 1 for two neighbours swapped.

    Always 3 for names whose lengths differ by that much or more.
    """
    if abs(len(one) - len(other)) > 2:
        return 3
    if _swapped(one, other):
        return 1
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != wanted)))
    return row[-1]


def _swapped(one: str, other: str) -> bool:
    """Return whether two neighbouring letters have changed places, and the names are equal otherwise."""
    differing = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or len(differing) != 2:
        return False
    first, second = differing
    return second == first + 1 and one[first] == other[second] and one[second] == other[first]
