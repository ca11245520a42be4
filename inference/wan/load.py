"""Opens a Wan2.1 image-to-video checkpoint: checks the folder, then loads it. Knows no job, no rank and no network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from msgspec import Meta, Struct
from transformers import AutoTokenizer, CLIPVisionModel, PreTrainedTokenizerBase, UMT5EncoderModel

# The variant by name: transformers picks the other, whose pixels differ a little, wherever torchvision is installed.
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging

from contracts.job import SIDE_MULTIPLE, ImageSize, parse_size

T = TypeVar("T")

CARD_FILE = "wanjet.json"
WAN21_SIZES = ["1280*720", "720*1280", "832*480", "480*832"]

INDEX_CLASSES = {
    "transformer": "WanTransformer3DModel",
    "vae": "AutoencoderKLWan",
    "text_encoder": "UMT5EncoderModel",
    "image_encoder": "CLIPVisionModel",
}


class CheckpointError(Exception):
    """The folder cannot be used; the text says what was expected and what was found."""


class ModelCard(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model says of itself. `large_sizes` are those that it can make but only advertises on request."""

    name: str
    sizes: Annotated[list[ImageSize], Meta(min_length=1)]
    default_size: ImageSize
    large_sizes: list[ImageSize] = []


@dataclass(frozen=True)
class Wan:
    """The loaded components, all of them on `device`, none of them to be trained."""

    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    image_processor: CLIPImageProcessorPil
    image_encoder: CLIPVisionModel
    vae: AutoencoderKLWan
    transformer: WanTransformer3DModel
    card: ModelCard
    device: torch.device

    @property
    def heads(self) -> int:
        """Attention heads of the transformer, over which Ulysses divides the ranks."""
        return self.transformer.config["num_attention_heads"]


def load(folder: Path, device: torch.device, *, large_sizes: bool = False) -> Wan:
    """The model in `folder` (diffusers layout) on `device`, its card with the large sizes if they are asked for.

    Raises `CheckpointError` before any weight is read if the folder holds something else.
    """
    check(folder)
    logging.disable_progress_bar()  # the bars of many ranks in one log are of no use to anybody
    # On a CPU half precision is slow and fp32 is what makes runs comparable bit for bit. On an accelerator the two
    # large models run in bf16; the VAE and CLIP are small and their rounding would be seen.
    large_dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    return Wan(
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        text_encoder=_component(UMT5EncoderModel, folder / "text_encoder", large_dtype, device),
        image_processor=CLIPImageProcessorPil.from_pretrained(folder / "image_processor", local_files_only=True),
        image_encoder=_component(CLIPVisionModel, folder / "image_encoder", torch.float32, device),
        vae=_component(AutoencoderKLWan, folder / "vae", torch.float32, device),
        transformer=_component(WanTransformer3DModel, folder / "transformer", large_dtype, device),
        card=read_card(folder, large_sizes=large_sizes),
        device=device,
    )


def _component(kind: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    # safetensors alone: the other format is pickle, which runs what it reads.
    model = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    return model.to(device).eval().requires_grad_(False)


def read_card(folder: Path, *, large_sizes: bool = False) -> ModelCard:
    """The folder's own card; without one it is taken for Wan2.1-14B under the folder's name."""
    file = folder / CARD_FILE
    if not file.exists():
        return ModelCard(folder.resolve().name, WAN21_SIZES, WAN21_SIZES[0])
    card = _read(file, ModelCard)
    if large_sizes:
        card = msgspec.structs.replace(card, sizes=card.sizes + [s for s in card.large_sizes if s not in card.sizes])
    _check_card(card, file)
    return card


def _check_card(card: ModelCard, file: Path) -> None:
    odd = [size for size in card.sizes if any(side % SIDE_MULTIPLE for side in parse_size(size))]
    if odd:
        raise CheckpointError(f"{file}: expected sides that are multiples of {SIDE_MULTIPLE}, found {', '.join(odd)}")
    if card.default_size not in card.sizes:
        raise CheckpointError(f"{file}: expected default_size among {', '.join(card.sizes)}, found {card.default_size}")


class _Transformer(Struct):
    in_channels: int
    text_dim: int
    patch_size: list[int]
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None


class _Vae(Struct):
    z_dim: int
    scale_factor_spatial: int = 8
    scale_factor_temporal: int = 4


class _TextEncoder(Struct):
    d_model: int


class _ImageEncoder(Struct):
    hidden_size: int


def check(folder: Path) -> None:
    """Raises `CheckpointError` unless the folder describes Wan2.1 image-to-video in diffusers layout. Changes nothing.

    Other Wans load without complaint and fail late or draw nonsense, text-to-video ones above all
    (Wan-Video/Wan2.1 issue 154).
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected a folder with a Wan2.1 image-to-video checkpoint, found none")
    index = _read(folder / "model_index.json", dict[str, Any])
    transformer = _read(folder / "transformer" / "config.json", _Transformer)
    _check_transformer(transformer, folder / "transformer" / "config.json")
    for name, kind in INDEX_CLASSES.items():
        _expect(folder / "model_index.json", f"{name} of class {kind}", _class_name(index, name), kind)
        _check_weights(folder / name)
    _check_vae(_read(folder / "vae" / "config.json", _Vae), folder / "vae" / "config.json")
    text = _read(folder / "text_encoder" / "config.json", _TextEncoder)
    _expect(folder / "text_encoder", f"d_model {transformer.text_dim}", text.d_model, transformer.text_dim)
    image = _read(folder / "image_encoder" / "config.json", _ImageEncoder)
    _expect(folder / "image_encoder", f"hidden_size {transformer.image_dim}", image.hidden_size, transformer.image_dim)


def _class_name(index: dict[str, Any], name: str) -> str | None:
    # A CLIP saved with its projection holds the same encoder.
    return (index.get(name, [None, None])[-1] or "").removesuffix("WithProjection") or None


def _check_transformer(config: _Transformer, file: Path) -> None:
    _expect(file, "in_channels 36 (16 is text-to-video)", config.in_channels, 36)
    _expect(file, "patch_size 1, 2, 2", config.patch_size, [1, 2, 2])
    for name in ("image_dim", "added_kv_proj_dim"):
        if getattr(config, name) is None:
            raise CheckpointError(f"{file}: expected {name} to be set (Wan2.2 leaves it out), found none")


def _check_vae(config: _Vae, file: Path) -> None:
    _expect(file, "z_dim 16", config.z_dim, 16)
    _expect(file, "scale_factor_spatial 8", config.scale_factor_spatial, 8)
    _expect(file, "scale_factor_temporal 4", config.scale_factor_temporal, 4)


def _check_weights(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder}: expected weights as .safetensors, found none")


def _expect(where: Path, expected: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise CheckpointError(f"{where}: expected {expected}, found {'none' if found is None else found}")


def _read(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: expected the diffusers layout with this file, found none") from None
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"{file}: expected the file of a Wan2.1 checkpoint, found that {error}") from error
