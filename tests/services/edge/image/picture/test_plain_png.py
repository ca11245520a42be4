"""A PNG without compression has the pixels, the checksums and nothing else."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from services.edge.image.picture import plain_png


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def written(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    plain_png.write(picture, file)
    return file.getvalue()


def read(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data), formats=("PNG",))
    picture.load()
    return picture


@pytest.mark.parametrize("size", [(32, 32), (33, 4096), (4096, 37), (1000, 700)])
def test_pixels_come_back_as_they_were(size: tuple[int, int]) -> None:
    picture = noise(*size)
    got = read(written(picture))
    assert (got.mode, got.size, got.info) == ("RGB", size, {})
    assert got.tobytes() == picture.tobytes()


def test_it_is_little_more_than_the_pixels() -> None:
    data = written(noise(1000, 700))
    assert 0 < len(data) - 3 * 1000 * 700 < 12_000


def test_each_changed_byte_of_pixels_is_found_by_a_checksum() -> None:
    data = written(noise(64, 64))
    at = data.index(b"IDAT")
    (length,) = struct.unpack_from(">I", data, at - 4)
    for place in range(at + 8, at + length, 997):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((OSError, SyntaxError)):
            read(bytes(changed))
