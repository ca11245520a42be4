"""Writes the pocket model's folder: `python -m inference.pocket.build [FOLDER]`. Downloads nothing, trains nothing."""

import shutil
import sys
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
from transformers import ByT5Tokenizer, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel
from transformers.utils import logging

from inference.pocket import POCKET_FOLDER
from inference.wan.card import CARD_FILE, WAN21_SIZES, ModelCard
from inference.wan.encode import TEXT_TOKENS
from inference.wan.original_layout import CLIP_HEADS, clip_processor

SEED = 0

POCKET_CARD = ModelCard(
    name="pocket", sizes=["256*144", "144*256"], default_size="256*144", large_sizes=list(WAN21_SIZES)
)


@dataclass(frozen=True)
class PocketShape:
    """How large each part is. What makes it an image-to-video Wan2.1 (36 channels in, image keys) is not here."""

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


def build(folder: Path, shape: PocketShape | None = None) -> bool:
    """Write the model unless it is there; True if it was written. The same shape gives the same bytes.

    The folder appears whole or not at all. Raises FileExistsError where something else is in its place.
    """
    if (folder / CARD_FILE).exists():
        return False
    if folder.exists():
        raise FileExistsError(f"{folder} is there but holds no model; remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _write(draft, shape or PocketShape())
        draft.chmod(0o755)  # mkdtemp's is for the owner alone
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def builders(shape: PocketShape) -> dict[str, Callable[[], Any]]:
    """What makes each component of the pipeline but the scheduler; the weights are drawn as torch draws them."""
    return {
        "tokenizer": _tokenizer,
        "text_encoder": lambda: _text_encoder(shape, vocabulary=len(_tokenizer())),
        "image_processor": lambda: clip_processor(shape.image_side),
        "image_encoder": lambda: _image_encoder(shape),
        "vae": lambda: _vae(shape),
        "transformer": lambda: _transformer(shape),
    }


def _write(folder: Path, shape: PocketShape) -> None:
    logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        components = {name: make() for name, make in builders(shape).items()}
        WanImageToVideoPipeline(**components, scheduler=_scheduler()).save_pretrained(folder)  # pyright: ignore[reportArgumentType]  # it does not mind
    (folder / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(shape.card)) + b"\n")


def _scheduler() -> UniPCMultistepScheduler:
    """For others who open the folder; we make our own for each job."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def _tokenizer() -> ByT5Tokenizer:
    """Bytes as tokens: needs no vocabulary and can say everything, in any language."""
    return ByT5Tokenizer(extra_ids=0, model_max_length=TEXT_TOKENS)


def _text_encoder(shape: PocketShape, *, vocabulary: int) -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=shape.text_dim,
        d_kv=16,
        d_ff=2 * shape.text_dim,
        num_layers=shape.text_layers,
        num_heads=4,
    )
    return UMT5EncoderModel(config).eval()


def _image_encoder(shape: PocketShape) -> CLIPVisionModel:
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


def _vae(shape: PocketShape) -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=shape.vae_dim, dim_mult=list(shape.vae_dim_mult), num_res_blocks=1).eval()


def _transformer(shape: PocketShape) -> WanTransformer3DModel:
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


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else POCKET_FOLDER
    written = build(folder)
    print(f"the pocket model {'is now' if written else 'was already'} in {folder}")  # noqa: T201 - its one line


if __name__ == "__main__":
    main(sys.argv[1:])
