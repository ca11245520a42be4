"""Check and load the model that the settings name. Called by `launch` on every rank."""

import time
import uuid
from dataclasses import replace

import torch
import torch.distributed as dist

from contracts.cluster import ClusterStatus
from contracts.fitting import Room, fastest, needed, thriftiest
from contracts.job import parse_size
from contracts.memory import Holding, Work
from contracts.model_config import shape_of
from contracts.model_shape import ModelShape
from contracts.plan import Plan, own_plan
from contracts.process import env, log
from contracts.too_large import DEFAULT_FRAMES
from inference.settings import Settings
from inference.wan import kernels
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.load import Wan, load
from inference.wan.parallel.fsdp import sharding_mesh
from inference.wan.residual import large_type
from inference.wan.vae.latent_rgb import fit
from inference.wan.visiting import on_device

GB = 1e9


def check_before_loading(settings: Settings, where: torch.device) -> None:
    """Check checkpoint, plan and attention kernel before a weight is read, because reading takes minutes.

    `where` is this rank's device. Raises `BadSetting`, which ends the process.
    """
    try:
        config = open_checkpoint(settings.model_ckpt_dir).transformer.build_empty().config
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
            offload_picture_models=settings.offload_picture_models,
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


def with_previews(wan: Wan) -> Wan:
    """Return the model with the map by which rank 0 shows a running job, fitted to the model's VAE.

    Without a map if it cannot be fitted, which is logged: jobs do without previews then.
    """
    began = time.monotonic()
    try:
        with on_device(wan.vae, wan.device):
            latent_rgb = fit(wan.vae)
    except Exception as error:  # noqa: BLE001  # whatever it is, jobs can be run
        log.get().warning("previews_off", error=repr(error))
        return wan
    seconds = round(time.monotonic() - began, 2)
    log.get().info("previews_fitted", psnr_db=round(latent_rgb.psnr_db, 1), seconds=seconds)
    return replace(wan, latent_rgb=latent_rgb)


def choose_plan(settings: Settings, heads: int, room: Room | None = None, default_size: str = "") -> Plan:
    """Return the cluster's own plan, by which jobs run that ask for none. Raises `BadSetting` if it cannot be run.

    Without `PLAN` it is the fastest that fits the cards' room for a guided job of the default size, or else the one
    that needs least.
    """
    try:
        plan = own_plan(settings.plan, settings.world_size, heads)
    except ValueError as error:
        raise env.BadSetting(f"PLAN: {error}") from error
    if room is None or settings.plan:
        return plan
    width, height = parse_size(default_size)
    work = Work(width=width, height=height, num_frames=DEFAULT_FRAMES)
    chosen = fastest(room, work) or thriftiest(room, work)
    needs_gb = round(needed(room.peaks(work, chosen)) / GB, 1)
    log.get().info("plan_chosen", plan=repr(chosen), needs_gb=needs_gb, card_gb=round(room.card_bytes / GB, 1))
    return chosen


def room_of(settings: Settings, wan: Wan) -> Room | None:
    """Return the memory of the cluster's smallest card, with the numbers of its model; None if the device has no say.

    A collective on an accelerator: every rank calls it once its model is loaded, and before its first job.
    """
    driver = None if wan.device.type == "cpu" else torch.get_device_module(wan.device)
    if driver is None or not hasattr(driver, "mem_get_info"):  # CUDA, NPU and XPU have it
        return None
    free, _ = driver.mem_get_info()
    card_bytes = torch.tensor([free + torch.accelerator.memory_reserved(wan.device)], dtype=torch.int64)
    dist.all_reduce(card_bytes, dist.ReduceOp.MIN)
    return Room(card_bytes=int(card_bytes), shape=shape(wan), holding=holding(settings, wan.device))


def shape(wan: Wan) -> ModelShape:
    """Return the numbers of the model that decide its memory."""
    text, image = wan.text_encoder.config.to_dict(), wan.image_encoder.config.to_dict()
    return shape_of(wan.transformer.config, text, image, wan.vae.config)


def holding(settings: Settings, where: torch.device) -> Holding:
    """Return what the settings say of the weights that a rank holds."""
    return Holding(
        ranks=settings.world_size,
        fp8_linear=settings.fp8_linear,
        text_offloaded=settings.offload_text_encoder,
        picture_models_offloaded=settings.offload_picture_models,
        large_bytes=large_type(where.type).itemsize,
    )


def first_status(settings: Settings, wan: Wan, plan: Plan, room: Room | None = None) -> ClusterStatus:
    """Return the cluster's first status, under a new instance id; heartbeats repeat it."""
    now = time.time()
    return ClusterStatus(
        instance=uuid.uuid4().hex,
        name=settings.cluster_name,
        device=wan.device.type,
        world_size=settings.world_size,
        model=wan.card.name,
        sizes=wan.card.sizes,
        default_size=wan.card.default_size,
        heads=wan.heads,
        plan=plan,
        current_jobs=[],
        started_at=now,
        at=now,
        weights=wan.weights,
        room=room,
    )
