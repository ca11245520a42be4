"""Writes text on pictures in a font that has its characters. The contact sheet uses it."""

import unicodedata
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Fonts with Chinese, Japanese or Korean characters, and DejaVu for other scripts: looked for among the system's.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "uming.ttc",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Medium.ttc", "Arial Unicode.ttf",
    "msyh.ttc", "simhei.ttf", "meiryo.ttc", "malgun.ttf", "DejaVuSans.ttf",
)  # fmt: skip
LEFT_OUT = "…"
NO_CHARACTER = "\U0010ffff"


def font_for(text: str, size_px: int) -> tuple[Font, str]:
    """Return a font, and the text as that font can write it.

    The font is Pillow's own if that has every character, else the first of the system's that has. If none has, what
    the font lacks becomes an ellipsis, and a text of which little is left says how long it was.
    """
    text = " ".join(text.split())
    for font in _fonts(size_px):
        if all(_has(font, character) for character in text):
            return font, text
    own = next(_fonts(size_px))
    return own, _what_is_left(own, text)


def lines(text: str, font: Font, width_px: float) -> list[str]:
    """Return the text in lines of at most this width, broken between words, or within one that is longer."""
    made = [""]
    for word in text.split():
        longer = f"{made[-1]} {word}".lstrip()
        if font.getlength(longer) <= width_px:
            made[-1] = longer
            continue
        made.append("")
        for character in word:
            if made[-1] and font.getlength(made[-1] + character) > width_px:
                made.append("")
            made[-1] += character
    return [line for line in made if line]


def _what_is_left(font: Font, text: str) -> str:
    kept = "".join(_nearest(font, character) for character in text)
    while LEFT_OUT * 2 in kept:
        kept = kept.replace(LEFT_OUT * 2, LEFT_OUT)
    if sum(character.isalnum() for character in kept) * 2 >= sum(character.isalnum() for character in text):
        return kept
    return f"({len(text)} characters that no font found here has)"


def _nearest(font: Font, character: str) -> str:
    """Return the character, or its letter without accents, or the sign for what is left out."""
    plain = unicodedata.normalize("NFKD", character)[0]
    return next((one for one in (character, plain) if _has(font, one)), LEFT_OUT)


def _fonts(size_px: int) -> Iterator[Font]:
    """Yield Pillow's own font, then those of the system that are there."""
    yield ImageFont.load_default(size_px)
    for name in SYSTEM_FONTS:
        try:
            yield ImageFont.truetype(name, size_px)
        except OSError:
            continue


def _has(font: Font, character: str) -> bool:
    """Return whether the font has a glyph of its own for a character, rather than the box that stands for none."""
    if character == " " or unicodedata.category(character) in ("Mn", "Cf"):
        return True
    return _glyph(font, character) != _glyph(font, NO_CHARACTER)


def _glyph(font: Font, character: str) -> tuple[tuple[float, ...], bytes]:
    box = font.getbbox(character)
    drawn = Image.new("L", (max(1, int(box[2])), max(1, int(box[3]))))
    ImageDraw.Draw(drawn).text((0, 0), character, fill=255, font=font)
    return box, drawn.tobytes()
