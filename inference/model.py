"""Check and load the model that the settings name. Called by `launch` on every rank."""

import time
from dataclasses import replace

import torch

from contracts.plan import Plan, own_plan
from contracts.process import env, log
from inference.settings import Settings
from inference.wan import kernels
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.load import Wan, load
from inference.wan.parallel.fsdp import sharding_mesh


def check_before_loading(settings: Settings, where: torch.device) -> None:
    """Check checkpoint, plan and attention kernel before a weight is read, because reading takes minutes.

    `where` is this rank's device. Raises `BadSetting`, which ends the process.
    """
    try:
        config = open_checkpoint(settings.model_ckpt_dir).transformer.empty().config
    except CheckpointError as error:
        raise env.BadSetting(f"MODEL_CKPT_DIR: {error}") from error
    choose_plan(settings, config["num_attention_heads"])
    asked = settings.attention_backend
    if asked and not kernels.backend_works(asked, where, config["attention_head_dim"]):
        raise env.BadSetting(f"ATTENTION_BACKEND was {env.shown(asked)}; {where.type} cannot run that one here")


def load_model(settings: Settings, where: torch.device) -> Wan:
    """Load the model as the settings want it, and log how. Raises `BadSetting` if that is impossible here.

    A collective: every rank calls it, and large weights are sharded among them. `weights` of the result names all that
    changes the pixels of a video.
    """
    began = time.monotonic()
    try:
        if settings.fp8_linear:
            kernels.check_fp8(where)
        if settings.compile_blocks:
            kernels.check_compile(where)
        wan = load(
            settings.model_ckpt_dir,
            where,
            large_sizes=settings.pocket_large_sizes,
            mesh=sharding_mesh(where.type, settings.world_size),
            offload_text_encoder=settings.offload_text_encoder,
            fp8_linear=settings.fp8_linear,
        )
        attention = kernels.set_attention_backend(wan, settings.attention_backend)
    except CheckpointError as error:
        raise env.BadSetting(f"MODEL_CKPT_DIR: {error}") from error
    except kernels.KernelError as error:
        raise env.BadSetting(str(error)) from error
    seconds = round(time.monotonic() - began, 1)
    weights = "+".join([wan.weights, *kernels.approximations(attention, fp8_linear=settings.fp8_linear)])
    log.get().info("model_loaded", model=wan.card.name, weights=weights, attention=attention, seconds=seconds)
    return replace(wan, weights=weights)


def choose_plan(settings: Settings, heads: int) -> Plan:
    """Return the cluster's own plan, by which jobs run that ask for none. Raises `BadSetting` if it cannot be run."""
    try:
        return own_plan(settings.plan, settings.world_size, heads)
    except ValueError as error:
        raise env.BadSetting(f"PLAN: {error}") from error
