"""Find the picture of a `/v1/videos` request: the forms in which clients of several servers refer to it. Pure.

`video_submission` calls `picture_of`; the child `body_reader` calls `picture_in` for a large part of a form that is
JSON by itself.
"""

from collections.abc import Mapping
from mmap import mmap

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contracts.cluster import Objection
from services.edge.body.members import PICTURE, UNREADABLE, VALUE_BYTES_MAX, Given
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE

REFERENCE = "input_reference"
"""The picture: a part with the file, an address, or an object with `image_url`."""
PICTURES = (REFERENCE, "image_reference", "reference_url", "input_references", PICTURE)
"""The names under which clients send the picture."""


class _Reference(Struct):
    """A picture by its address, or by the id of a file, of which there are none here."""

    image_url: Raw | UnsetType = UNSET
    file_id: Raw | UnsetType = UNSET


def picture_of(members: Mapping[str, Raw], wrong: list[Objection]) -> dict[str, Given]:
    """Return the address of the picture. A picture that is faulty, or one too many, counts as one that is there."""
    names = [name for name in PICTURES if name in members]
    if not names:
        return {}
    stand_in = {PICTURE: Given(names[0], Raw(msgspec.json.encode(INLINE)))}
    if len(names) > 1:
        wrong.append(Objection(names[1], f"{names[0]} and {names[1]} are both there; give one picture"))
        return stand_in
    try:
        return {PICTURE: Given(names[0], _address(members[names[0]]))}
    except UNREADABLE:
        wrong.append(Objection(names[0], _picture_rule(names[0])))
        return stand_in


def picture_in(reference: bytes | mmap) -> Raw:
    """Return the address of the picture, as JSON, in a reference that is JSON by itself. Raises `Invalid`."""
    try:
        return _address(Raw(memoryview(reference)))
    except UNREADABLE as error:
        raise Invalid([Objection("image_reference", _picture_rule("image_reference"))]) from error


def _picture_rule(name: str) -> str:
    """Return the sentence about a picture that is none."""
    return (
        f"{name} may be one picture: a file, an http:// or https:// address, a data: URI, or an object with image_url"
    )


def _address(raw: Raw, *, as_text: bool = True) -> Raw:
    """Return the text of JSON that holds the address of a picture, in whichever form a client sends the picture.

    `as_text` allows a text that holds JSON, up to `VALUE_BYTES_MAX`: nothing large is copied. Raises an exception of
    `UNREADABLE`.
    """
    text = memoryview(raw)
    match bytes(text[:1]):
        case b"[":
            return _address(msgspec.json.decode(raw, type=tuple[Raw])[0], as_text=False)
        case b"{":
            image_url = msgspec.json.decode(raw, type=_Reference).image_url
            if image_url is UNSET or bytes(memoryview(image_url)[:1]) != b'"':
                raise msgspec.ValidationError
            return image_url
        case b'"' if as_text and bytes(text[1:2]) in (b"{", b"["):
            if len(text) > VALUE_BYTES_MAX:
                raise msgspec.ValidationError
            return _address(Raw(msgspec.json.decode(raw, type=str).encode()), as_text=False)
        case b'"':
            return raw
        case _:
            raise msgspec.ValidationError
