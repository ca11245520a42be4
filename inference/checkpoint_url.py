"""Recognise an address that is given as `MODEL_CKPT_DIR` where a folder is expected. Pure: fetches nothing.

Such as the URL of a model's page. `early` and the opening of checkpoints refuse the address by the sentence returned.
"""

import re
from pathlib import Path

HUBS = ("huggingface.co", "hf.co", "www.huggingface.co")
HUB_SCHEME = "hf"

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):(/{1,3}(?P<rest>[^/].*)?)?", re.IGNORECASE | re.DOTALL)
_WITHOUT_SCHEME = re.compile(rf"(?:{'|'.join(map(re.escape, HUBS))})/.*", re.IGNORECASE | re.DOTALL)
_SECRET = re.compile(r"^[^/@]*@|[?#].*", re.DOTALL)
_MODEL = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def not_fetched(path: Path) -> str | None:
    """Return the sentence that refuses a path which is an address; None for any other path.

    A `Path` has lost the second slash of `https://`. User, password and query of the address are not shown.
    """
    text = str(path)
    found = _ADDRESS.fullmatch(text)
    if found is None and not _WITHOUT_SCHEME.fullmatch(text):
        return None
    scheme = "" if found is None else found["scheme"].lower()
    rest = _SECRET.sub("", text if found is None else found["rest"] or "")
    slashes = "///" if scheme == "file" else "//"
    shown = f"{scheme}:{slashes}{rest}" if scheme else rest
    return (
        f"{shown}: expected a folder with a Wan2.1 image-to-video checkpoint, found an address; "
        f"addresses are not fetched; {_download_hint(scheme, rest, shown)}"
    )


def _download_hint(scheme: str, rest: str, shown: str) -> str:
    """Return what to do instead; `rest` is the address without its scheme, `shown` all of it that may be shown."""
    if scheme == "file":
        return "write the folder's path alone"
    host, _, below = rest.partition("/")
    if host.lower() in HUBS or scheme == HUB_SCHEME:
        model = _MODEL.match(rest if scheme == HUB_SCHEME and host.lower() not in HUBS else below)
        return f"download it first: hf download {model[0] if model else 'NAME'} --local-dir FOLDER"
    if scheme == "s3":
        return f"download it first: aws s3 sync {shown} FOLDER"
    return "download it first, into a folder"
