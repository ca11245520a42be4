"""The length that a prompt may have: characters at most, and at least a weight in which wide characters count more.

The edge and the demo check a prompt with it; the types, which every message is decoded with, bound it alone. Pure.
"""

import math
import re
import unicodedata
from typing import Annotated

from msgspec import Meta

PROMPT_WEIGHT_MIN, PROMPT_CHARS_MAX = 10, 500
WIDE_WEIGHT = 3
"""The weight of a Chinese, Japanese or Korean character towards the minimum: it says as much as a few Latin letters."""
PROMPT_RULE = (
    f"text from {PROMPT_WEIGHT_MIN} to {PROMPT_CHARS_MAX} characters, of which a Chinese, Japanese or Korean one "
    f"counts as {WIDE_WEIGHT} towards the {PROMPT_WEIGHT_MIN}"
)
PROMPT_CHARS_MIN = math.ceil(PROMPT_WEIGHT_MIN / WIDE_WEIGHT)
"""The fewest characters that can have that weight."""
ANY_PROMPT_RULE = f"text from 1 to {PROMPT_CHARS_MAX} characters"
Prompt = Annotated[str, Meta(min_length=1, max_length=PROMPT_CHARS_MAX)]
"""A prompt that a cluster can run. Whether it is long enough is asked by the interface that takes it: `/v1/videos`,
whose clients send a word or two, takes any."""
NegativePrompt = Annotated[str, Meta(max_length=500)]

# Blocks of Unicode: ideographs with their radicals, marks and extensions, also those that later versions will fill;
# kana, Bopomofo and Hangul, letters (jamo) and half-width forms too. Punctuation and sound marks are none.
_WIDE = re.compile(
    "["
    "\u1100-\u115e\u1161-\u11ff\ua960-\ua97f\uac00-\ud7ff\u3131-\u3163\u3165-\u318e\uffa1-\uffdc"  # Hangul
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d\U0001aff0-\U0001b16f"  # kana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # ideographs
    "\U00016fe2-\U00016ff6\U0001f200-\U0001f202\U0001f210-\U0001f23b\U00020000-\U0003ffff"
    "]"
)


def is_prompt(text: str) -> bool:
    """Return whether a text keeps `PROMPT_RULE`. The caller cuts off white space around it."""
    return len(text) <= PROMPT_CHARS_MAX and prompt_weight(text) >= PROMPT_WEIGHT_MIN


def prompt_weight(prompt: str) -> int:
    """Return the weight of a prompt towards `PROMPT_WEIGHT_MIN`, however its characters are composed (NFC, NFD).

    Characters after the first `PROMPT_CHARS_MAX` do not count.
    """
    composed = unicodedata.normalize("NFC", prompt[:PROMPT_CHARS_MAX])
    return len(composed) + (WIDE_WEIGHT - 1) * len(_WIDE.findall(composed))
