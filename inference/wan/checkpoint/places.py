"""Explains why a path is no checkpoint folder and where the checkpoint probably is. Called by `open`."""

import re
from pathlib import Path

from inference.checkpoint_url import not_fetched
from inference.wan.checkpoint.content import mistaken
from inference.wan.checkpoint.relatives import WAN22
from inference.wan.checkpoint.tensors import CheckpointError

INDEX_FILE, CONFIG_FILE = "model_index.json", "config.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
SINGLE_FILES = (".safetensors", ".gguf", ".pth", ".pt", ".ckpt", ".bin")
EXPERTS = ("high_noise_model", "low_noise_model")
NAMED_MAX = 3


def check_place(folder: Path) -> None:
    """Raise `CheckpointError` unless the folder has the first file of one of the two layouts."""
    if not folder.is_dir():
        if (sentence := not_fetched(folder)) is not None:
            raise CheckpointError(sentence)
        raise CheckpointError(
            f"{folder}: expected a folder with a Wan2.1 image-to-video checkpoint, {_describe_path(folder)}"
        )
    whole = folder.parent / INDEX_FILE
    if not (folder / INDEX_FILE).exists() and folder.name == "transformer" and whole.exists():
        raise CheckpointError(
            f"{folder}: expected a whole checkpoint, found its transformer; the folder is {whole.parent}"
        )
    if any(is_there(folder / file) for file in (INDEX_FILE, CONFIG_FILE)):
        return
    layouts = f"{INDEX_FILE} (diffusers layout) or {CONFIG_FILE} (original Wan2.1 layout)"
    raise CheckpointError(f"{folder}: expected {layouts}, {_describe_folder(folder)}")


def is_there(file: Path) -> bool:
    """Return whether the path exists, even as a broken link, such as one into a cache that was cleaned."""
    return file.exists() or file.is_symlink()


def _describe_path(path: Path) -> str:
    """Return the end of the error for a path that is no folder: what was found, and what to do."""
    text = str(path)
    if path.is_file():
        kind = mistaken(path) or "a single file"
        return f"found {kind}; files for ComfyUI and GGUF files are not supported, only whole folders"
    if path.is_symlink():
        return f"found a link to {path.readlink()}, which is not there"
    if text.startswith("~"):
        return "found none: a ~ is the shell's and is not looked up here, so write the path out"
    if HUB_ID.fullmatch(text):
        return f"found none; if that is its name on a hub, download it first: hf download {text} --local-dir FOLDER"
    return "found none"


def _describe_folder(folder: Path) -> str:
    """Return the end of the error for a folder without a checkpoint: what was found, and where."""
    snapshots = _snapshots(folder)
    if snapshots:
        return f"found a cache of the hub, with the checkpoint in {_listed(snapshots)}"
    if any((folder / expert).is_dir() for expert in EXPERTS):
        return f"found {WAN22} ({' and '.join(EXPERTS)})"
    below = [file.parent for name in (INDEX_FILE, CONFIG_FILE) for file in sorted(folder.glob(f"*/{name}"))]
    whole = [place for place in below if (place / INDEX_FILE).exists() or list(place.glob("*.pth"))]
    if whole:
        return f"found neither here, but in {_listed(whole)}"
    single = [file.name for file in sorted(folder.iterdir()) if file.suffix.lower() in SINGLE_FILES]
    if single:
        return f"found neither beside {_listed(single)}; single files for ComfyUI and GGUF files are not supported"
    return "found neither"


def _snapshots(folder: Path) -> list[Path]:
    """Return the snapshot folders below `folder`: the root of a hub's cache, a model's folder, or its `snapshots`.

    If some of them hold a checkpoint, the others are left out.
    """
    patterns = ("*", "snapshots/*", "models--*/snapshots/*", "hub/models--*/snapshots/*")
    found = [
        place for pattern in patterns for place in sorted(folder.glob(pattern)) if place.parent.name == "snapshots"
    ]
    return [place for place in found if any((place / file).exists() for file in (INDEX_FILE, CONFIG_FILE))] or found


def _listed(things: list[Path] | list[str]) -> str:
    """Return the first `NAMED_MAX` things, with commas, and the number of the others."""
    more = len(things) - NAMED_MAX
    return ", ".join(map(str, things[:NAMED_MAX])) + (f" and {more} more" if more > 0 else "")
