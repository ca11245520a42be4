from pathlib import Path

import pytest
import torch
from PIL import Image

from inference.leader.mp4 import write_mp4
from ops.local.contact_sheet import contact_sheet

WIDTH, HEIGHT = 48, 32


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sheet") / "video.mp4"
    shades = torch.linspace(-1, 1, 25)[None, :, None, None].expand(3, 25, HEIGHT, WIDTH)
    write_mp4(shades.contiguous(), file, lambda _frame: None)
    return file


def frame(sheet: Image.Image, column: int, row: int) -> Image.Image:
    above = sheet.height - 3 * HEIGHT
    left, top = column * WIDTH, above + row * HEIGHT
    return sheet.crop((left, top, left + WIDTH, top + HEIGHT))


def test_a_contact_sheet_shows_the_first_frame_first_and_the_last_one_last(video: Path) -> None:
    sheet = contact_sheet(video).convert("L")
    assert sheet.size == (4 * WIDTH, 3 * HEIGHT)
    means = [int(frame(sheet, x, y).getpixel((24, 8))) for y in range(3) for x in range(4)]  # pyright: ignore[reportArgumentType]
    assert means == sorted(means)
    assert means[0] < 10
    assert means[-1] > 245


def test_each_frame_has_its_time_in_its_lower_left_corner(video: Path) -> None:
    sheet = contact_sheet(video).convert("L")
    corners = [frame(sheet, x, y).crop((0, HEIGHT - 16, WIDTH, HEIGHT)) for y in range(3) for x in range(4)]
    for corner in corners:
        assert max(corner.tobytes()) > 200  # white letters
        assert min(corner.tobytes()) < 40  # with a black edge
    white = [bytes(shade > 200 for shade in corner.tobytes()) for corner in corners[:6]]  # of the dark frames
    assert len(set(white)) == 6


def test_the_caption_stands_above_the_frames_and_moves_none(video: Path) -> None:
    plain, captioned = contact_sheet(video), contact_sheet(video, "zoom in", "boat.png")
    above = captioned.height - plain.height
    assert above > 30
    assert captioned.crop((0, above, captioned.width, captioned.height)).tobytes() == plain.tobytes()


def test_a_long_caption_is_broken_into_lines_that_fit(video: Path) -> None:
    short, long = contact_sheet(video, "boat"), contact_sheet(video, "a boat on a calm sea " * 5 + "m" * 60)
    assert long.width == short.width
    assert long.height > short.height + 80
    edge = long.crop((long.width - 2, 0, long.width, long.height - 3 * HEIGHT))
    assert edge.getcolors() == [(edge.width * edge.height, (255, 255, 255))]
