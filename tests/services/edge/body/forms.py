"""Forms as clients write them, well or badly, as bytes: for tests."""

import base64
import io
import random

from PIL import Image

from tests.kit.edge import PROMPT

BOUNDARY = "a-boundary"
FIELDS = {"prompt": PROMPT, "num_frames": "25", "infer_steps": "20"}


def png(side: int = 64, *, color: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), color).save(file, "PNG")
    return file.getvalue()


def noise(side: int = 800) -> bytes:
    """A picture that cannot be made smaller: of 800 pixels a side some 2 MB."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(3 * side * side)).save(file, "PNG")
    return file.getvalue()


def uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def part(name: str, content: str | bytes, *headers: str, boundary: str = BOUNDARY, disposition: str = "") -> bytes:
    """A part of a form. Bytes are a file, unless the disposition says otherwise."""
    is_file = isinstance(content, bytes)
    said = disposition or f'form-data; name="{name}"' + ('; filename="../../etc/passwd"' if is_file else "")
    head = [f"Content-Disposition: {said}", *(["Content-Type: application/octet-stream"] if is_file else []), *headers]
    body = content if is_file else content.encode()
    return f"--{boundary}\r\n".encode() + "\r\n".join(head).encode() + b"\r\n\r\n" + body + b"\r\n"


def whole(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def form(boundary: str = BOUNDARY, **values: str | bytes) -> bytes:
    """A form with these values; bytes are files."""
    return whole(*(part(name, value, boundary=boundary) for name, value in values.items()), boundary=boundary)


def kind(boundary: str = BOUNDARY) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}
