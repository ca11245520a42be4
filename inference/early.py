"""Check a cluster's settings without torch, whose import takes seconds, so that wrong ones end the start at once.

`inference.cluster` and `inference.__main__` call `check` first, and import the libraries after it.
`inference.launch` checks the same again, and more, once torch is imported.
"""

import json
from pathlib import Path
from typing import Any

from contracts.plan import own_plan
from contracts.process import env
from contracts.process.env import BadSetting
from inference.checkpoint_url import not_fetched
from inference.settings import Settings

ATTENTION_BACKENDS = (
    "_flash_3", "_flash_3_hub", "_flash_3_varlen_hub", "_flash_varlen_3", "_native_cudnn", "_native_efficient",
    "_native_flash", "_native_math", "_native_npu", "_native_xla", "_sage_qk_int8_pv_fp16_cuda",
    "_sage_qk_int8_pv_fp16_triton", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "aiter_fa2_hub",
    "flash", "flash_4_hub", "flash_hub", "flash_varlen", "flash_varlen_hub", "flex", "native", "sage",
    "sage_blackwell_hub", "sage_hub", "sage_varlen", "xformers",
)  # fmt: skip
"""The names in diffusers; a test compares them with its enum."""

_CONFIGS = (("transformer/config.json", "num_attention_heads"), ("config.json", "num_heads"))
"""The file and the key by which each layout states the transformer's number of attention heads."""


def check(settings: Settings) -> None:
    """Raise `BadSetting` for keys without this user's, an unknown attention kernel, no checkpoint, or a bad plan.

    A relative folder may be missing, and the plan is checked only if the folder tells the number of attention heads.
    """
    settings.shown("inference")
    asked = settings.attention_backend
    if asked and asked not in ATTENTION_BACKENDS:
        may_be = ", ".join(ATTENTION_BACKENDS)
        raise BadSetting(f"ATTENTION_BACKEND was {env.shown(asked)}; it may be one of {may_be}")
    if (sentence := not_fetched(settings.model_ckpt_dir)) is not None and not settings.model_ckpt_dir.exists():
        raise BadSetting(f"MODEL_CKPT_DIR: {sentence}")
    if settings.model_ckpt_dir.is_absolute() and not settings.model_ckpt_dir.exists():
        raise BadSetting(
            f"MODEL_CKPT_DIR: {settings.model_ckpt_dir}: expected a folder with a Wan2.1 image-to-video checkpoint, "
            "found none"
        )
    if (heads := _heads(settings.model_ckpt_dir)) is not None:
        check_plan(settings, heads)


def check_plan(settings: Settings, heads: int) -> None:
    """Raise `BadSetting` if the ranks cannot share a transformer with so many attention heads by the plan."""
    try:
        own_plan(settings.plan, settings.world_size, heads)
    except ValueError as error:
        raise BadSetting(f"PLAN: {error}") from error


def _heads(folder: Path) -> int | None:
    """Return the number of attention heads that a checkpoint states; None if it states none that can be read."""
    for name, key in _CONFIGS:
        try:
            config: Any = json.loads((folder / name).read_bytes())
            heads = config[key]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if isinstance(heads, int) and heads > 0:
            return heads
    return None
