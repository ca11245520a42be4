from pathlib import Path

import torch

from inference.video import write_mp4
from ops.sheet import contact_sheet


def test_a_contact_sheet_shows_the_first_frame_first_and_the_last_one_last(tmp_path: Path) -> None:
    shades = torch.linspace(-1, 1, 25)[None, :, None, None].expand(3, 25, 32, 48)
    write_mp4(shades.contiguous(), tmp_path / "video.mp4", lambda _frame: None)
    sheet = contact_sheet(tmp_path / "video.mp4").convert("L")
    assert sheet.size == (4 * 48, 3 * 32)
    means = [int(sheet.getpixel((x * 48 + 24, y * 32 + 16))) for y in range(3) for x in range(4)]  # pyright: ignore[reportArgumentType]
    assert means == sorted(means)
    assert means[0] < 10
    assert means[-1] > 245
