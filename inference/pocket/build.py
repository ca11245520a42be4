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
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, UMT5EncoderModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

from contracts.model_shape import ModelShape
from inference.pocket.data.tokenizer import VOCABULARY, tokenizer
from inference.wan import new_components
from inference.wan.checkpoint.model_card import CARD_FILE, WAN21_SIZES, ModelCard
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
    def model(self) -> ModelShape:
        """Return the shape of the whole model, with the pocket's tokenizer."""
        return ModelShape(
            layers=self.layers,
            heads=self.heads,
            head_dim=self.head_dim,
            ffn_dim=round(self.ffn_ratio * self.heads * self.head_dim),
            text_vocabulary=VOCABULARY,
            text_layers=self.text_layers,
            text_dim=self.text_dim,
            text_heads=4,
            text_head_dim=16,
            text_ffn_dim=2 * self.text_dim,
            image_layers=self.image_layers,
            image_dim=self.image_dim,
            image_ffn_dim=2 * self.image_dim,
            image_side=self.image_side,
            image_patch=self.image_patch,
            vae_dim=self.vae_dim,
            vae_dim_mult=self.vae_dim_mult,
            vae_res_blocks=1,
        )


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
    model = shape.model
    return {
        "tokenizer": tokenizer,
        "text_encoder": lambda: new_components.text_encoder(model),
        "image_processor": lambda: clip_processor(shape.image_side),
        "image_encoder": lambda: new_components.image_encoder(model),
        "vae": lambda: new_components.vae(model),
        "transformer": lambda: new_components.transformer(model),
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
