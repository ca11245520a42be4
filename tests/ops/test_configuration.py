"""Compare the second half of `ops/configuration.md` with the structs of settings.

`python -m tests.ops.test_configuration` writes that half anew. The first half, what each setting means, is written by
hand.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect
from msgspec.structs import FieldInfo

from contracts.process import env, misspelt
from contracts.process.env import BadSetting
from contracts.process.settings import LogSettings, TraceSettings
from inference.settings import Settings as Inference
from ops import broker, rebuild, streams
from ops.local import demo, liveness, up
from services.edge.settings import Settings as Edge
from services.state.__main__ import Settings as State
from services.webhooks.__main__ import Settings as Webhooks
from tests.kit.machine import REPOSITORY

PAGE = REPOSITORY / "ops" / "configuration.md"
PROCESSES: dict[str, type[msgspec.Struct]] = {
    "every process": LogSettings,
    "edge, state, inference": TraceSettings,
    "edge": Edge,
    "state": State,
    "webhooks": Webhooks,
    "inference": Inference,
    "provision": streams.Settings,
    "`just up`": up.Settings,
    "`just demo`": demo.Settings,
    "the broker's liveness": liveness.Settings,
    "`just events`, `just queue`, `just watch`, `just replay`, `just key`": broker.Settings,
    "`just rebuild`": rebuild.Settings,
}
SET_BY_TORCHRUN = ("rank", "local_rank", "world_size")
DEFAULTS = {"cluster_name": "the host's name", "model_ckpt_dir": "the pocket model", "wanjet_folder": ".wanjet/up"}
WRONG = ("", "-1", "0", "nan", "maybe", "http://[", "a b", "x" * 5000)
"""The first of these that a setting does not take is shown; some settings take any text."""
REQUIRED = {"WEBHOOK_SECRET": f"whsec_{'A' * 32}"}
"""What has to be set for any setting to be read."""
HEAD = """## Bounds and defaults

Made from the structs by `just configuration`; a test compares.

"""
"""Opens the part of the page that is made from the structs. What stands before it is written by hand."""


@dataclass(frozen=True)
class Row:
    """One setting of one process, or of several for which all of it is the same."""

    variable: str
    default: str
    allowed: str
    wrong: str


def page() -> str:
    """Return the whole page: its first half as it stands, and its second half as the structs say."""
    readers: dict[Row, list[str]] = {}
    for process, settings in PROCESSES.items():
        for field in msgspec.structs.fields(settings):
            readers.setdefault(row(settings, field), []).append(process)
    lines = ["| variable | read by | default | may be | a wrong value, and what it prints |", "|---|---|---|---|---|"]
    for each in sorted(readers, key=lambda row: row.variable):
        cells = (f"`{each.variable}`", ", ".join(readers[each]), each.default, each.allowed, each.wrong)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return meanings() + HEAD + "\n".join(lines) + "\n"


def meanings() -> str:
    """Return the first half of the page, which says what each setting means."""
    return PAGE.read_text().partition(HEAD)[0]


def row(settings: type[msgspec.Struct], field: FieldInfo) -> Row:
    return Row(field.name.upper(), default_of(field), allowed(field.type), wrong(settings, field))


def default_of(field: FieldInfo) -> str:
    if field.name in SET_BY_TORCHRUN:
        return "set by torchrun"
    return "it must be set" if field.required else DEFAULTS.get(field.name) or shown(field.default)


def allowed(kind: Any) -> str:
    return "a folder's path" if inspect.type_info(kind) == inspect.type_info(Path) else env.allowed(kind)


def shown(default: object) -> str:
    match default:
        case None | ():
            return "none"
        case bool():
            return str(int(default))
        case tuple():
            return ", ".join(map(str, default))
        case float():
            return f"{default:.10g}"
        case _:
            return str(default)


def wrong(settings: type[msgspec.Struct], field: FieldInfo) -> str:
    variable = field.name.upper()
    for text in WRONG[1:]:
        try:
            env.read(settings, {**REQUIRED, variable: text})
        except BadSetting as refusal:
            sentence = str(refusal)
            return sentence if len(text) < 100 else sentence.replace(text[: env.SHOWN_CHARS_MAX], "xxx")
    return "looked at when it is used"


def test_the_page_is_what_the_structs_say() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.ops.test_configuration`"


def test_every_setting_is_known_to_whoever_looks_for_misspelt_ones() -> None:
    names = {field.name.upper() for settings in PROCESSES.values() for field in msgspec.structs.fields(settings)}
    assert set(misspelt.KNOWN) == names


def test_the_page_says_what_every_setting_means() -> None:
    names = {name for name in misspelt.KNOWN if f"`{name}`" not in meanings()}
    assert names == {name.upper() for name in SET_BY_TORCHRUN}


def test_every_number_has_bounds() -> None:
    for settings in PROCESSES.values():
        for field in msgspec.structs.fields(settings):
            assert env.allowed(field.type) not in ("a whole number", "a number"), field.name
            assert " of at least " not in env.allowed(field.type), field.name


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.relative_to(REPOSITORY)}\n")
