"""Reads UMT5's tokenizer with exactly the ids in its file. Called by `open` to check it and by `load` to use it."""

from pathlib import Path
from typing import Any

from transformers import TokenizersBackend

from inference.wan.checkpoint.components import check_small, read_json
from inference.wan.checkpoint.tensors import CheckpointError

FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
PAD = "<pad>"


def read_tokenizer(folder: Path) -> TokenizersBackend:
    """Return the tokenizer that `tokenizer.json` describes. Raises `CheckpointError`, also for a faulty file beside it.

    `AutoTokenizer` gives wrong ids: for the class that UMT5's configuration names, transformers 5 builds T5's tokenizer
    from the same pieces, and T5's unknown token is 2. In UMT5, 2 begins a text, and 3 is unknown.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected this folder with UMT5's tokenizer, found none")
    described = read_json(folder / FILE, dict[str, Any])
    read_json(folder / CONFIG_FILE, dict[str, Any])
    for file in sorted(folder.iterdir()):
        check_small(file)
    if not isinstance(described.get("model"), dict):
        raise CheckpointError(f"{folder / FILE}: expected UMT5's tokenizer, found no model in it")
    try:
        tokenizer = TokenizersBackend.from_pretrained(folder, local_files_only=True)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = PAD
        tokenizer(["a", "a text"], padding=True)
    except Exception as error:  # the library raises plain ones too
        raise CheckpointError(f"{folder}: expected UMT5's tokenizer, found one that cannot be read") from error
    return tokenizer
