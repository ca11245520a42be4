import pytest
from PIL import ImageFont

from ops.local import lettering
from ops.local.lettering import font_for, lines


def name_of(font: lettering.Font) -> tuple[str | None, str | None]:
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.getname()


OWN = name_of(ImageFont.load_default(15))


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())


def test_plain_words_are_written_in_pillows_own_font() -> None:
    font, text = font_for("zoom in,\n slowly\t(25 %)", 15)
    assert name_of(font) == OWN
    assert text == "zoom in, slowly (25 %)"


@pytest.mark.usefixtures("no_system_fonts")
@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("镜头向左移动", "(6 characters that no font found here has)"),
        ("zoom in, 镜头推进, slowly", "zoom in, …, slowly"),
        ("小猫在草地上奔跑 now", "(12 characters that no font found here has)"),
        ("a café at dawn", "a cafe at dawn"),
        ("boat \U0001f6a3 zoom", "boat … zoom"),
    ],
)
def test_what_no_font_has_is_left_out_rather_than_drawn_as_boxes(text: str, written: str) -> None:
    assert font_for(text, 15)[1] == written


@pytest.mark.parametrize("text", ["镜头向左移动", "лодка", "a café", "한국어"])
def test_a_font_of_the_system_is_taken_only_for_a_text_that_it_has_every_character_of(text: str) -> None:
    font, written = font_for(text, 15)
    if name_of(font) == OWN:  # no font on this machine has them
        assert written != text
    else:
        assert written == text


def test_a_line_is_broken_between_words_and_in_a_word_without_room() -> None:
    font = ImageFont.load_default(15)
    made = lines("a boat sails over the calm sea " + "m" * 40, font, 120)
    assert all(font.getlength(line) <= 120 for line in made)
    assert "".join(made).replace(" ", "") == "aboatsailsoverthecalmsea" + "m" * 40
    assert made[0] == "a boat sails over"
