"""Suggest the known field that an unknown one was probably meant as: "did you mean num_frames?". Pure.

A table has the names that other services use for the same field; misspelled names are compared letter by letter.
"""

import re
from difflib import get_close_matches

from contracts.job import FPS, JobRequest

NAME_CHARS_MAX = 40
"""The longest name for which a suggestion is looked for."""
SIMILARITY_MIN = 0.72

_FRAMES_NOTE = f"a video has {FPS} frames a second"
_SIZE_NOTE = "both sides in one text, such as 1280*720"

_NAMES_ELSEWHERE: dict[str, str] = {
    "prompt": "text description caption text_prompt positive_prompt prompt_text instruction instructions input",
    "image_url": (
        "image img picture photo image_uri img_url image_path image_file image_base64 image_b64 init_image input_image "
        "input_reference first_frame first_frame_image first_frame_url start_image start_image_url source_image "
        "reference_image image_urls images url file"
    ),
    "image_size": (
        "size resolution dimensions width height video_size output_size frame_size target_size aspect aspect_ratio w h"
    ),
    "keep_aspect": "keep_aspect_ratio preserve_aspect preserve_aspect_ratio keep_ratio",
    "num_frames": (
        "frames frame_num n_frames nframes frame_count video_length length duration seconds num_seconds "
        "duration_seconds fps frame_rate frames_per_second target_fps"
    ),
    "guidance_scale": "cfg cfg_scale guidance guide_scale sample_guide_scale scale cfg_value true_cfg_scale",
    "infer_steps": (
        "steps num_inference_steps num_steps inference_steps sample_steps sampling_steps n_steps num_infer_steps "
        "diffusion_steps denoising_steps ddim_steps"
    ),
    "seed": "random_seed base_seed noise_seed rng_seed manual_seed",
    "negative_prompt": "negative neg_prompt n_prompt negative_text neg uc",
    "sample_solver": "sampler scheduler solver sampler_name sampler_index sample_method scheduler_name",
    "sample_shift": "shift flow_shift timestep_shift time_shift noise_shift",
    "ulysses_size": "ulysses ulysses_degree sp sp_size sp_degree sequence_parallel_size",
    "cfg_size": "cfg_parallel cfg_parallel_size cfg_degree",
    "use_attentioncache": "attentioncache attention_cache use_cache cache teacache use_teacache enable_teacache",
}
_NOTES = {
    _FRAMES_NOTE: ("duration", "seconds", "num_seconds", "duration_seconds", "fps", "frame_rate", "frames_per_second"),
    _SIZE_NOTE: ("width", "height", "w", "h"),
}


def _plain(name: str) -> str:
    """Return the letters and digits of a name, which are the same for `negativePrompt` and `Negative-Prompt`."""
    return re.sub(r"[\W_]", "", name[:NAME_CHARS_MAX]).lower()


_FIELDS = {_plain(field): field for field in JobRequest.__struct_fields__}
_MEANT = {_plain(name): field for field, names in _NAMES_ELSEWHERE.items() for name in names.split()} | _FIELDS
_NOTE_OF = {_plain(name): note for note, names in _NOTES.items() for name in names}


def no_field(name: str, shown: str) -> str:
    """Return the sentence that refuses an unknown field, with a suggestion if there is one.

    `name` is the field as it was sent, and `shown` the same cut to what an answer may echo. A name longer than
    `NAME_CHARS_MAX` gets no suggestion.
    """
    if len(name) > NAME_CHARS_MAX or (meant := _nearest(name)) is None:
        return f"{shown} is not a field"
    note = _NOTE_OF.get(_plain(name))
    return f"{shown} is not a field; did you mean {meant}?" + (f" ({note})" if note else "")


def _nearest(name: str) -> str | None:
    """Return the known field whose name, or name elsewhere, is this one or similar; None if none is."""
    plain = _plain(name)
    if plain in _MEANT:
        return _MEANT[plain]
    found = get_close_matches(plain, _MEANT, n=1, cutoff=SIMILARITY_MIN)
    return _MEANT[found[0]] if found else None
