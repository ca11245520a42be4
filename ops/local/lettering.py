"""Finds a font that has the characters of a text, and breaks the text into lines. `contact_sheet` uses it."""

import unicodedata
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Fonts with Chinese, Japanese or Korean characters, and DejaVu for other scripts; Pillow searches the system for them.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "uming.ttc",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Medium.ttc", "Arial Unicode.ttf",
    "msyh.ttc", "simhei.ttf", "meiryo.ttc", "malgun.ttf", "DejaVuSans.ttf",
)  # fmt: skip
LEFT_OUT = "…"
NO_CHARACTER = "\U0010ffff"


def font_for(text: str, size_px: int) -> tuple[Font, str]:
    """Return a font, and the text as that font can write it, with each run of white space as one blank.

    Pillow's own font is tried first, then those of the system; the first that has every character is taken. If no font
    has, Pillow's own is taken and missing characters become an ellipsis. If fewer than half of the letters and digits
    remain, the text becomes a note of its length.
    """
    text = " ".join(text.split())
    for font in _fonts(size_px):
        if all(_has(font, character) for character in text):
            return font, text
    own = next(_fonts(size_px))
    return own, _reduced(own, text)


def lines(text: str, font: Font, width_px: float) -> list[str]:
    """Return the text in lines of at most this width, broken between words, or within a word that is too long.

    A single character that is wider has a line of its own. A text without words has no lines.
    """
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


def _reduced(font: Font, text: str) -> str:
    """Return the text with its missing characters replaced as `font_for` says."""
    kept = "".join(_nearest(font, character) for character in text)
    while LEFT_OUT * 2 in kept:
        kept = kept.replace(LEFT_OUT * 2, LEFT_OUT)
    if sum(character.isalnum() for character in kept) * 2 >= sum(character.isalnum() for character in text):
        return kept
    return f"({len(text)} characters that no font found here has)"


def _nearest(font: Font, character: str) -> str:
    """Return the character, its letter without accents, or `LEFT_OUT`: the first that the font has, `LEFT_OUT` else."""
    plain = unicodedata.normalize("NFKD", character)[0]
    return next((each for each in (character, plain) if _has(font, each)), LEFT_OUT)


def _fonts(size_px: int) -> Iterator[Font]:
    """Yield Pillow's own font, then those of `SYSTEM_FONTS` that are installed."""
    yield ImageFont.load_default(size_px)
    for name in SYSTEM_FONTS:
        try:
            yield ImageFont.truetype(name, size_px)
        except OSError:
            continue


def _has(font: Font, character: str) -> bool:
    """Return whether the font has a glyph for a character, rather than the box for missing characters.

    True for blanks, combining marks and invisible format characters.
    """
    if character == " " or unicodedata.category(character) in ("Mn", "Cf"):
        return True
    return _glyph(font, character) != _glyph(font, NO_CHARACTER)


def _glyph(font: Font, character: str) -> tuple[tuple[float, ...], bytes]:
    """Return the bounding box of a character in pixels, and its pixels in grey."""
    box = font.getbbox(character)
    drawn = Image.new("L", (max(1, int(box[2])), max(1, int(box[3]))))
    ImageDraw.Draw(drawn).text((0, 0), character, fill=255, font=font)
    return box, drawn.tobytes()
