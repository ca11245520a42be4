"""Builds the pocket model with random weights from a seed; reads and writes its checkpoint folder.

`train` starts from its weights; tests and benchmarks write small untrained models with it.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

from inference.pocket.data.tokenizer import tokenizer
from inference.wan.checkpoint.model_card import CARD_FILE, WAN21_SIZES, ModelCard
from inference.wan.checkpoint.original_layout import CLIP_HEADS
from inference.wan.clip_pixels import clip_processor

SEED = 0

POCKET_CARD = ModelCard(
    name="pocket", sizes=["256*144", "144*256"], default_size="256*144", large_sizes=list(WAN21_SIZES)
)


@dataclass(frozen=True)
class PocketShape:
    """Dimensions of each component. Those that every Wan2.1 image-to-video shares, such as 36 inputs, are fixed."""

    card: ModelCard = POCKET_CARD
    vae_dim: int = 24
    vae_dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    layers: int = 6
    heads: int = 6
    head_dim: int = 32
    ffn_ratio: float = 4.0
    text_layers: int = 2
    text_dim: int = 64
    image_layers: int = 2
    image_dim: int = 64
    image_side: int = 56
    image_patch: int = 14

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim


@dataclass(frozen=True)
class PocketModel:
    """The components of a pocket model, all but the scheduler."""

    tokenizer: PreTrainedTokenizerFast
    text_encoder: UMT5EncoderModel
    image_processor: CLIPImageProcessorPil
    image_encoder: CLIPVisionModel
    vae: AutoencoderKLWan
    transformer: WanTransformer3DModel


def build(folder: Path, shape: PocketShape | None = None) -> bool:
    """Write an untrained model unless `folder` holds one; return whether it was written. Equal shapes give equal bytes.

    The folder appears whole or not at all. Raises FileExistsError if `folder` exists and holds no model.
    """
    if (folder / CARD_FILE).exists():
        return False
    shape = shape or PocketShape()
    write(folder, lambda: new_model(shape), shape.card)
    return True


def read(folder: Path) -> PocketModel:
    """Return the model in a folder that `write` made, in fp32, for further training.

    To generate videos, load the folder with `inference.wan.load` instead.
    """
    return PocketModel(
        tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
        text_encoder=UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
        image_processor=CLIPImageProcessorPil.from_pretrained(folder / "image_processor"),
        image_encoder=CLIPVisionModel.from_pretrained(folder / "image_encoder", dtype=torch.float32),
        vae=AutoencoderKLWan.from_pretrained(folder / "vae"),
        transformer=WanTransformer3DModel.from_pretrained(folder / "transformer"),
    )


def write(folder: Path, make: Callable[[], PocketModel], card: ModelCard) -> None:
    """Write the model that `make` returns, whole or not at all. Raises FileExistsError if `folder` exists."""
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _save(draft, make(), card)
        draft.chmod(0o755)  # mkdtemp's folder is readable by its owner only
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def builders(shape: PocketShape) -> dict[str, Callable[[], Any]]:
    """Return a constructor for each component but the scheduler; weights come from torch's global generator."""
    return {
        "tokenizer": tokenizer,
        "text_encoder": lambda: new_text_encoder(shape, vocabulary=len(tokenizer())),
        "image_processor": lambda: clip_processor(shape.image_side),
        "image_encoder": lambda: new_image_encoder(shape),
        "vae": lambda: new_vae(shape),
        "transformer": lambda: new_transformer(shape),
    }


def _save(folder: Path, model: PocketModel, card: ModelCard) -> None:
    """Write the folder that diffusers' pipeline and `inference.wan.load` open, with the model card."""
    logging.disable_progress_bar()
    # The ignored three have other classes than the pipeline's signature says; it accepts them.
    WanImageToVideoPipeline(
        tokenizer=model.tokenizer,  # pyright: ignore[reportArgumentType]
        text_encoder=model.text_encoder,
        image_processor=model.image_processor,  # pyright: ignore[reportArgumentType]
        image_encoder=model.image_encoder,
        vae=model.vae,
        transformer=model.transformer,
        scheduler=_scheduler(),  # pyright: ignore[reportArgumentType]
    ).save_pretrained(folder)
    for file in folder.glob("*/config.json"):  # the path that weights were read from is not published
        config = json.loads(file.read_bytes())
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card)) + b"\n")


def new_model(shape: PocketShape) -> PocketModel:
    """Return a model with weights from `SEED`; torch's global generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return PocketModel(**{name: make() for name, make in builders(shape).items()})


def _scheduler() -> UniPCMultistepScheduler:
    """Return the scheduler for diffusers' own pipeline; `inference.wan` makes one of its own for each job."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def new_text_encoder(shape: PocketShape, *, vocabulary: int) -> UMT5EncoderModel:
    """Return UMT5's encoder with random weights from torch's global generator, in eval mode."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=shape.text_dim,
        d_kv=16,
        d_ff=2 * shape.text_dim,
        num_layers=shape.text_layers,
        num_heads=4,
    )
    return UMT5EncoderModel(config).eval()


def new_image_encoder(shape: PocketShape) -> CLIPVisionModel:
    """Return CLIP's vision model with random weights from torch's global generator, in eval mode."""
    config = CLIPVisionConfig(
        hidden_size=shape.image_dim,
        projection_dim=shape.image_dim,
        intermediate_size=2 * shape.image_dim,
        num_hidden_layers=shape.image_layers,
        num_attention_heads=CLIP_HEADS,
        image_size=shape.image_side,
        patch_size=shape.image_patch,
        hidden_act="gelu",
    )
    return CLIPVisionModel(config).eval()


def new_vae(shape: PocketShape) -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=shape.vae_dim, dim_mult=list(shape.vae_dim_mult), num_res_blocks=1).eval()


def new_transformer(shape: PocketShape) -> WanTransformer3DModel:
    """Return the transformer with random weights from torch's global generator, in eval mode."""
    return WanTransformer3DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.head_dim,
        in_channels=36,
        out_channels=16,
        text_dim=shape.text_dim,
        ffn_dim=round(shape.ffn_ratio * shape.dim),
        num_layers=shape.layers,
        image_dim=shape.image_dim,
        added_kv_proj_dim=shape.dim,
    ).eval()
