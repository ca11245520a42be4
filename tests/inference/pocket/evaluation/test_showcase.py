"""`just showcase` with what cannot work: plain words, and nothing else."""

import io
from pathlib import Path

import pytest
from PIL import Image

from inference.pocket.evaluation.evaluate import SIZE
from inference.pocket.evaluation.showcase import USAGE, WRONG_USAGE_EXIT, main, opened
from tests.kit.process import completed


def jpeg(width: int = 400, height: int = 300, **options: object) -> bytes:
    data = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).save(data, "JPEG", **options)
    return data.getvalue()


def test_without_arguments_it_prints_its_usage_and_no_warning() -> None:
    answer = completed("-m", "inference.pocket.evaluation.showcase", within_s=100)
    assert (answer.returncode, answer.stdout, answer.stderr) == (WRONG_USAGE_EXIT, "", USAGE + "\n")
    assert USAGE.startswith("usage: just showcase PICTURE SHEET")


@pytest.mark.parametrize("arguments", [["--help"], ["photo.jpg", "-h"]])
def test_help_prints_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
    assert capsys.readouterr().out == USAGE + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no picture can be read at {} (No such file or directory)"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "{} holds no picture that can be read here, such as a PNG or a JPEG"),
        (b"", "{} holds no picture that can be read here, such as a PNG or a JPEG"),
        (jpeg()[:-300], "the picture in {} is damaged"),
        (jpeg()[:60], "the picture in {} is damaged"),
    ],
)
def test_a_picture_that_cannot_be_read_is_said(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "portrait.heic"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as end:
        main([str(file), str(tmp_path / "sheet.jpg")])
    assert end.value.code == said.format(file)


@pytest.mark.parametrize(
    ("sheet", "said"),
    [
        ("sheet", "the name of the sheet must end in .jpg, .png or .webp; it was {}"),
        ("sheet.txt", "the name of the sheet must end in .jpg, .png or .webp; it was {}"),
        ("nowhere/sheet.jpg", "the sheet cannot be written to {}"),
    ],
)
def test_a_sheet_that_cannot_be_written_is_said_before_the_model_is_loaded(
    sheet: str, said: str, tmp_path: Path
) -> None:
    picture, file = tmp_path / "photo.jpg", tmp_path / sheet
    picture.write_bytes(jpeg())
    with pytest.raises(SystemExit) as end:
        main([str(picture), str(file)])
    assert end.value.code == said.format(file)


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg())
    with pytest.raises(SystemExit, match="expected"):
        main([str(tmp_path / "photo.jpg"), str(tmp_path / "sheet.jpg"), str(tmp_path)])


def test_a_picture_on_its_side_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    data = io.BytesIO()
    Image.linear_gradient("L").resize((300, 400)).save(data, "JPEG", exif=exif)  # black above, white below
    (tmp_path / "photo.jpg").write_bytes(data.getvalue())
    image = opened(tmp_path / "photo.jpg").convert("L")
    left, right = image.getpixel((2, SIZE[1] // 2)), image.getpixel((SIZE[0] - 3, SIZE[1] // 2))
    assert isinstance(left, int)
    assert isinstance(right, int)
    assert left > right + 150  # the lower edge has become the left one
