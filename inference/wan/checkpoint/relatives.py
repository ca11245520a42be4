"""Recognises other models of the Wan family by configuration and tensor names, to name them in errors.

They share classes with Wan2.1 image-to-video, so some would load and then fail at every job, or generate nonsense
(Wan-Video/Wan2.1 issue 154). The tables follow the configurations that Wan-AI, diffusers' converter and VideoX-Fun
write. Called by both layouts and by `components`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

WANTED = "Wan2.1 image-to-video"

T2V = "Wan-T2V, text-to-video"
FLF2V = "Wan2.1-FLF2V, first and last frame to video"
VACE = "Wan-VACE, video editing"
WAN22 = "Wan2.2-A14B, which has two transformers"
WAN22_I2V = "Wan2.2-I2V-A14B, which has two transformers and no image encoder"
WAN22_T2V = "Wan2.2-T2V-A14B, text-to-video with two transformers"
TI2V = "Wan2.2-TI2V-5B, which has another VAE"
ANIMATE = "Wan2.2-Animate, which moves a character by a video"
S2V = "Wan2.2-S2V, speech to video"
FUN_CONTROL = "Wan-Fun-Control, which follows a control video"
FUN_CAMERA = "Wan-Fun-Control-Camera, which follows a camera's path"

MODEL_TYPES = {
    r"ti2v": TI2V,
    r"flf2v": FLF2V,
    r"vace": VACE,
    r"s2v": S2V,
    r"animate": ANIMATE,
    r"i2v.*a14b|a14b.*i2v|wan.?2.?2.*i2v": WAN22_I2V,
    r"t2v.*a14b|a14b.*t2v|wan.?2.?2.*t2v": WAN22_T2V,
    r"a14b|wan.?2.?2": WAN22,
    r"t2v": T2V,
}
"""Patterns of `model_type` in Wan-AI's `config.json`, in lower case; the first match counts.

Some models have the name of the task there, such as `i2v-A14B` or `ti2v-5B`. `i2v` alone is Wan2.1 or Wan2.2."""

CLASSES = {
    "vace": VACE,
    "animate": ANIMATE,
    "s2v": S2V,
    "speech": S2V,
    "skyreels": "SkyReels-V2, which has other conditions",
    "wantransformeraudio": S2V,
}
"""Parts of class names, in lower case."""

KEYS = {
    "vace_layers": VACE,
    "vace_in_dim": VACE,
    "vace_in_channels": VACE,
    "motion_encoder_dim": ANIMATE,
    "motion_encoder_size": ANIMATE,
    "face_encoder_hidden_dim": ANIMATE,
    "audio_dim": S2V,
    "pos_embed_seq_len": FLF2V,
    "add_control_adapter": FUN_CAMERA,
    "add_ref_conv": FUN_CONTROL,
}
"""Keys of a transformer's configuration that Wan2.1 image-to-video does not set."""

TENSORS = {
    "img_emb.emb_pos": FLF2V,
    "image_embedder.pos_embed": FLF2V,
    "vace_blocks": VACE,
    "vace_patch_embedding": VACE,
    "face_adapter": ANIMATE,
    "motion_encoder": ANIMATE,
    "pose_patch_embedding": ANIMATE,
    "casual_audio_encoder": S2V,
    "control_adapter": FUN_CAMERA,
    "ref_conv": FUN_CONTROL,
    "lora_": "a LoRA, which is not a model by itself",
    "scaled_fp8": "weights scaled to 8 bits, as ComfyUI takes them",
    ".scale_weight": "weights scaled to 8 bits, as ComfyUI takes them",
    "model.diffusion_model.": "a file for ComfyUI, whose names are others",
}
"""Parts of tensor names."""

LATENTS, MASKED, CONTROLLED = 16, 36, (48, 52)
"""Input channels: latents alone; latents, mask and first frame; these and a control video."""


def in_diffusers(index: Mapping[str, Any], transformer: Mapping[str, Any]) -> str | None:
    """Return the relative that `model_index.json` and `transformer/config.json` describe, in words, or None.

    None stands for Wan2.1 image-to-video, and for a model that is not known.
    """
    classes = [index.get("_class_name"), transformer.get("_class_name"), *_named(index.get("transformer"))]
    named = _by_classes(classes) or _by_keys(transformer)
    if named is not None:
        return named
    channels, out = transformer.get("in_channels"), transformer.get("out_channels")
    if index.get("expand_timesteps") or out == CONTROLLED[0]:
        return TI2V
    if index.get("boundary_ratio") is not None or any(_named(index.get("transformer_2"))):
        return {LATENTS: WAN22_T2V, MASKED: WAN22_I2V}.get(channels or 0, WAN22)
    if channels == MASKED and transformer.get("image_dim") is None:
        return WAN22_I2V
    return _by_channels(channels)


def in_original(config: Mapping[str, Any]) -> str | None:
    """Return the relative that Wan-AI's own `config.json` describes, in words, or None as `in_diffusers` does."""
    named = _by_classes([config.get("_class_name")]) or _by_model_type(str(config.get("model_type")).lower())
    return named or _by_keys(config) or _by_channels(config.get("in_dim"))


def in_tensors(names: Iterable[str]) -> str | None:
    """Return the relative to which tensors with these names, as in the files, belong, in words, or None."""
    return next((name for tensor in names for part, name in TENSORS.items() if part in tensor), None)


def _named(component: Any) -> list[Any]:
    """Return library and class of a component in `model_index.json`; an empty list if it is left out."""
    return component if isinstance(component, list) else []


def _by_classes(classes: Iterable[Any]) -> str | None:
    """Return the relative that one of these class names tells, or None. Empty names are passed over."""
    names = [str(name).lower() for name in classes if name]
    return next((relative for part, relative in CLASSES.items() for name in names if part in name), None)


def _by_model_type(text: str) -> str | None:
    """Return the relative that a `model_type` in lower case tells, or None."""
    return next((relative for pattern, relative in MODEL_TYPES.items() if re.search(pattern, text)), None)


def _by_keys(config: Mapping[str, Any]) -> str | None:
    """Return the relative that a key set in a transformer's configuration tells, or None."""
    return next((relative for key, relative in KEYS.items() if config.get(key)), None)


def _by_channels(channels: Any) -> str | None:
    """Return the relative that the number of input channels tells, or None."""
    return T2V if channels == LATENTS else FUN_CONTROL if channels in CONTROLLED else None
