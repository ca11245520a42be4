"""Loads a Wan2.1 image-to-video checkpoint from a folder into a `Wan`. Called once, when a rank starts.

Over a mesh, transformer and text encoder are FSDP2-sharded, and each rank reads only its own rows from the files.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import cpu_offload
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch.distributed.device_mesh import DeviceMesh
from transformers import CLIPVisionModel, PreTrainedTokenizerBase, UMT5EncoderModel
from transformers.utils import logging

from contracts.process import log
from inference.wan import fp8
from inference.wan.checkpoint.components import Checkpoint, Component
from inference.wan.checkpoint.fingerprint import fingerprint
from inference.wan.checkpoint.model_card import ModelCard, read_card
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.checkpoint.tokenizer import read_tokenizer
from inference.wan.clip_pixels import Processor
from inference.wan.in_place import activate_in_place
from inference.wan.parallel.fsdp import shard
from inference.wan.prompt_cache import PromptCache
from inference.wan.residual import keep_residuals_in_fp32, large_type, wan_dtype
from inference.wan.vae.cpu import speed_up
from inference.wan.vae.latent_rgb import LatentRgb
from inference.wan.weights import LoadingProgress, read_weights


@dataclass(frozen=True)
class Wan:
    """The loaded model, not for training: its components, on `device` except for those that are offloaded.

    `weights` is the checkpoint's fingerprint, followed by the names of all arithmetic that changes pixels beyond
    rounding; it is empty if the weights are not from a checkpoint. `latent_rgb`, for previews, is there on rank 0
    alone. Lives as long as the process.
    """

    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    image_processor: Processor
    image_encoder: CLIPVisionModel
    vae: AutoencoderKLWan
    transformer: WanTransformer3DModel
    card: ModelCard
    device: torch.device
    weights: str = ""
    latent_rgb: LatentRgb | None = None
    prompt_cache: PromptCache = field(default_factory=PromptCache)

    @property
    def heads(self) -> int:
        """Attention heads of the transformer, over which Ulysses divides the ranks."""
        return self.transformer.config["num_attention_heads"]


def load(
    folder: Path,
    device: torch.device,
    *,
    large_sizes: bool = False,
    mesh: DeviceMesh | None = None,
    dtype: torch.dtype | None = None,
    offload_text_encoder: bool = False,
    offload_picture_models: bool = False,
    fp8_linear: bool = False,
) -> Wan:
    """Return the model in `folder` on `device`; with `large_sizes` its card also lists the large sizes.

    Over a `mesh` the transformer and the text encoder are sharded and each rank reads its own rows only. A collective:
    every rank of the mesh calls it. `dtype` is the dtype of these two models, by default the one that suits the device.
    `offload_text_encoder` keeps the text encoder in main memory; `fp8_linear` quantises the blocks' linear layers.
    Raises `CheckpointError` before any weight is read if the folder holds another model, and afterwards if its files
    were changed while they were read.
    """
    checkpoint, card = open_checkpoint(folder), read_card(folder, large_sizes=large_sizes)
    for each in checkpoint.unused:
        log.get().warning("weights_not_used", file=str(each.file), what=each.what)
    weights = fingerprint(checkpoint, card)
    wan = read(
        checkpoint,
        card,
        device,
        mesh=mesh,
        dtype=dtype,
        offload_text_encoder=offload_text_encoder,
        offload_picture_models=offload_picture_models,
        fp8_linear=fp8_linear,
    )
    if fingerprint(checkpoint, card) != weights:
        raise CheckpointError(f"{folder}: expected files that stay as they are, found others after reading them")
    return replace(wan, weights=weights)


def read(
    checkpoint: Checkpoint,
    card: ModelCard,
    device: torch.device,
    *,
    mesh: DeviceMesh | None = None,
    dtype: torch.dtype | None = None,
    offload_text_encoder: bool = False,
    offload_picture_models: bool = False,
    fp8_linear: bool = False,
) -> Wan:
    """Return the model of an opened checkpoint, without a fingerprint; the other arguments are those of `load`.

    A collective over a `mesh`. Raises `CheckpointError` if a file has become shorter. Turns transformers' progress bars
    off for the rest of the process.
    """
    logging.disable_progress_bar()  # every rank would write its own bar into the log
    large_dtype = dtype or large_type(device.type)
    mesh = None if mesh is None or mesh.size() == 1 else mesh  # FSDP2 on one rank cannot run in inference mode
    progress = LoadingProgress()
    home = torch.device("cpu") if offload_picture_models else device

    def small(component: Component) -> Any:  # VAE and CLIP: in fp32 on every device, for their rounding would be seen
        return read_weights(component, component.build_empty(), lambda _name: torch.float32, home, progress)

    vae: AutoencoderKLWan = small(checkpoint.vae)
    if device.type == "cpu":
        speed_up(vae)
    return Wan(
        tokenizer=read_tokenizer(checkpoint.tokenizer),
        text_encoder=_text_encoder(
            checkpoint.text_encoder, device, mesh, large_dtype, progress, offload=offload_text_encoder
        ),
        image_processor=checkpoint.image_processor(),
        image_encoder=small(checkpoint.image_encoder),
        vae=vae,
        transformer=_transformer(checkpoint.transformer, device, mesh, large_dtype, progress, fp8_linear=fp8_linear),
        card=card,
        device=device,
    )


def _transformer(
    component: Component,
    device: torch.device,
    mesh: DeviceMesh | None,
    dtype: torch.dtype,
    progress: LoadingProgress,
    *,
    fp8_linear: bool,
) -> WanTransformer3DModel:
    """Return the transformer, sharded if there is a mesh, with its residual stream in fp32.

    `fp8_linear` quantises the linear layers of its blocks. Raises `CheckpointError` if a file has become shorter.
    """
    empty = component.build_empty()
    activate_in_place(empty)
    if fp8_linear:
        fp8.convert(empty.blocks)
    if mesh is not None:
        shard(empty, empty.blocks, mesh)
    model = read_weights(component, empty, lambda name: wan_dtype(name, dtype), device, progress)
    if dtype != torch.float32:
        keep_residuals_in_fp32(model, dtype)
    return model


def _text_encoder(
    component: Component,
    device: torch.device,
    mesh: DeviceMesh | None,
    dtype: torch.dtype,
    progress: LoadingProgress,
    *,
    offload: bool,
) -> UMT5EncoderModel:
    """Return UMT5's encoder, sharded if there is a mesh. Raises `CheckpointError` if a file has become shorter.

    With `offload` the weights stay in main memory, and come to `device` for each pass.
    """
    empty = component.build_empty()
    if mesh is not None:
        shard(empty, empty.encoder.block, mesh, offload=offload)
    home = torch.device("cpu") if offload else device
    model = read_weights(component, empty, lambda _name: dtype, home, progress)
    if offload and mesh is None:
        cpu_offload(model, execution_device=device)
    return model
