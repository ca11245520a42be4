"""Reads the command line of the demo: a picture and a prompt, one of the two, or neither.

`demo` calls `parse_arguments`, which ends the process with the usage and a sentence if the arguments cannot be meant.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from contracts.prompt import PROMPT_RULE, is_prompt
from ops.local.picture_bytes import BYTES_MAX
from ops.local.sample_image import PROMPT, sample
from ops.local.vocabulary import asks_for_motion

USAGE = f"""usage: just demo [PICTURE] ["PROMPT"]        (or: python -m ops.local.demo [PICTURE] ["PROMPT"])

Makes a video of a picture, on a stack of its own that ends with it.

  PICTURE   a file: PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF; left out, a drawn sailing boat
  PROMPT    what is to be seen, in quotes; left out: "{PROMPT}"

  just demo
  just demo photo.jpg
  just demo photo.jpg "the camera pans slowly to the left"
  just demo "zoom in on the boat"

RANKS sets the ranks of the cluster (2), MODEL_CKPT_DIR the folder of the model (the pocket model that comes along)."""
HELP = ("-h", "--help")
WRONG_USAGE_EXIT = 2
DRAWN = "the drawn picture"
ECHO_CHARS_MAX = 100


class Arguments(Struct, frozen=True):
    """The bytes of a picture, the name of its file, and the prompt."""

    picture: bytes
    name: str
    prompt: str


def parse_arguments(arguments: Sequence[str]) -> Arguments:
    """Return the picture and the prompt that the arguments name; the drawn picture and `PROMPT` if one is absent.

    Picture and prompt may stand in either order. Neither is checked here. Ends the process by `SystemExit`: with 0
    after `--help`, with `WRONG_USAGE_EXIT` and the usage if the arguments are not understood, and with a sentence if
    the picture cannot be read.
    """
    if any(argument in HELP for argument in arguments):
        print(USAGE)
        sys.exit(0)
    if len(arguments) > 2 or any(_is_option(argument) for argument in arguments):
        _refuse(arguments)
    first, second = [*arguments, "", ""][:2]
    if first and not (_exists(first) or _is_path(first)):
        if not second and _is_prompt(first):
            first, second = "", first
        elif _exists(second):
            first, second = second, first
        elif second:
            _refuse(arguments)
    name = Path(first).name if first else DRAWN
    return Arguments(_read(first) if first else sample(), name, second or PROMPT)


def check_prompt(prompt: str) -> None:
    """Raise `ValueError`, with the service's own sentence, for a prompt that the service would refuse."""
    # Python escapes bytes of the command line that are not UTF-8 as surrogates.
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise ValueError("the prompt is not text in UTF-8")
    if not is_prompt(prompt):
        shown = msgspec.json.encode(prompt).decode()
        shown = shown if len(shown) <= ECHO_CHARS_MAX else shown[:ECHO_CHARS_MAX] + "…"
        raise ValueError(f"prompt was {shown}; it may be {PROMPT_RULE}")


def _refuse(arguments: Sequence[str]) -> None:
    """End the process with `WRONG_USAGE_EXIT` and the usage.

    A line before it names the unknown option, or shows how to quote the prompt.
    """
    unknown = next((argument for argument in arguments if _is_option(argument)), None)
    if unknown is not None:
        message = f"{unknown} is no option"
    else:
        picture = [arguments[0]] if _exists(arguments[0]) or _is_path(arguments[0]) else []
        words = " ".join(arguments[len(picture) :])
        message = f'a prompt stands in quotes: {" ".join(["just demo", *picture])} "{words}"'
    print(f"{message}\n\n{USAGE}", file=sys.stderr)
    sys.exit(WRONG_USAGE_EXIT)


def _is_option(argument: str) -> bool:
    """Return whether an argument was meant as an option, such as `-x` or `--size=1`, and not as words or as a file.

    Whatever begins with `--` is an option.
    """
    if argument.startswith("--"):
        return True
    return (
        argument.startswith("-") and argument != "-" and " " not in argument.partition("=")[0] and not _exists(argument)
    )


def _exists(path: str) -> bool:
    """Return whether a text is the path of a file or a folder."""
    try:
        return path != "" and Path(path).exists()
    except OSError:  # the text is too long for a path
        return False


def _is_path(text: str) -> bool:
    """Return whether a text that names no file was meant as a path: by its beginning, or an ending such as `.jpg`."""
    return text.startswith(("/", "./", "../", "~")) or re.search(r"\.[A-Za-z][A-Za-z0-9]{1,4}\Z", text) is not None


def _is_prompt(text: str) -> bool:
    """Return whether a text that names no file was meant as words: several, beyond ASCII, or words for a motion."""
    return " " in text.strip() or not text.isascii() or asks_for_motion(text)


def _read(path: str) -> bytes:
    """Return at most `BYTES_MAX` + 1 bytes of a file. Ends the process with a sentence if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        raise SystemExit(f"no picture can be read at {path} ({error.strerror})") from error
