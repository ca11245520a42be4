"""TIFF: the file with one new directory, which has the tags that pixels need. Pure.

The new directory stands behind the file's bytes, so that a decoder never reads another page, a thumbnail, an EXIF block
or a damaged tag.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from services.edge.image.picture import tiff_samples
from services.edge.image.picture.essence import DAMAGED, GREYS, UPRIGHT, Essence, Refused
from services.edge.image.picture.exif import ORIENTATION_TAG

PAGES_MAX = 64
ENTRIES_MAX = 4096
SAMPLES_MAX = 64
STRIPS_MAX = 256 * 1024
NEW_SUBFILE_TYPE = 254
_SMALLER_OR_MASK = 0x05
_NEEDED = frozenset(
    (
        256, 257, 258, 259, 262, 266, ORIENTATION_TAG, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324,
        325, 332, 338, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675,
    )
)  # fmt: skip
"""Size, sampling, compression, strips and tiles, colours, orientation, and the ICC profile."""
_STRIPS = ((273, 279), (324, 325))
_SIZES_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class _Form(NamedTuple):
    """The formats of numbers in a TIFF or a BigTIFF, for `struct`: byte order, counter of entries, offset.

    An entry of a directory, which functions here take as bytes, has `entry_bytes`; the first directory's offset stands
    at `first_at`.
    """

    order: str
    counter: str
    offset: str
    entry_bytes: int
    first_at: int


def essence(data: bytes) -> Essence:
    """Return the essence of a TIFF. Raises `Refused` for a file of several pages or none, or of samples not read here.

    May raise `struct.error` for a damaged file.
    """
    form = _form_of(data)
    pages = [page for page in _pages(data, form) if not _is_smaller(page, form)]
    if not pages:
        raise Refused(DAMAGED)
    if len(pages) > 1:
        raise Refused("this is a TIFF of several pages")
    entries = [entry for entry in pages[0] if _tag(entry, form) in _NEEDED and _is_sound(entry, form, data)]
    _check_pixels(entries, form, data)
    greys = tiff_samples.checked_greys(_samples(pages[0], form, data), is_big_endian=form.order == ">")
    if greys != GREYS:  # the decoder returns the samples unscaled, and reads 12 bits only where black is zero
        entries = [
            _black_is_zero(form) if _tag(entry, form) == tiff_samples.PHOTOMETRIC else entry for entry in entries
        ]
    entries.sort(key=lambda entry: _tag(entry, form))
    start = len(data) + len(data) % 2
    directory = struct.pack(form.order + form.counter, len(entries)) + b"".join(entries)
    end = struct.pack(form.order + form.offset, 0)
    head = data[: form.first_at] + struct.pack(form.order + form.offset, start)
    return Essence(
        data=head + data[len(head) :] + b"\0" * (len(data) % 2) + directory + end, format="TIFF", greys=greys
    )


def _check_pixels(entries: list[bytes], form: _Form, data: bytes) -> None:
    """Raise `Refused` for too many strips, or for any beyond the file's end, where the new directory will stand."""
    named = {_tag(entry, form): entry for entry in entries}
    for offsets, counts in _STRIPS:
        if offsets in named and counts in named:
            if _count(named[offsets], form) > STRIPS_MAX:
                raise Refused(f"it has more than {STRIPS_MAX} strips")
            starts, sizes = (_numbers(named[tag], form, data) for tag in (offsets, counts))
            if any(start + size > len(data) for start, size in zip(starts, sizes, strict=False)):
                raise Refused(DAMAGED)


def _samples(page: list[bytes], form: _Form, data: bytes) -> dict[int, tuple[int, ...]]:
    """Return the numbers of a page's tags that describe samples, by tag.

    The decoder does not get the tag of their format.
    """
    wanted = [entry for entry in page if _tag(entry, form) in tiff_samples.TAGS and _is_sound(entry, form, data)]
    return {_tag(entry, form): _numbers(entry, form, data) for entry in wanted if _count(entry, form) <= SAMPLES_MAX}


def _black_is_zero(form: _Form) -> bytes:
    """Return the directory entry that says that 0 means black."""
    head = struct.pack(form.order + "HH" + form.offset, tiff_samples.PHOTOMETRIC, 3, 1)
    return (head + struct.pack(form.order + "H", 1)).ljust(form.entry_bytes, b"\0")


def _numbers(entry: bytes, form: _Form, data: bytes) -> tuple[int, ...]:
    """Return the whole numbers of a sound entry, which stand in the entry or elsewhere in the file."""
    (kind,) = struct.unpack_from(f"{form.order}H", entry, 2)
    count = _count(entry, form)
    where = form.entry_bytes - struct.calcsize(form.order + form.offset)
    if _SIZES_BYTES[kind] * count <= form.entry_bytes - where:
        data, start = entry, where
    else:
        (start,) = struct.unpack_from(form.order + form.offset, entry, where)
    letter = {2: "H", 4: "I", 8: "Q"}.get(_SIZES_BYTES[kind], "B")
    return struct.unpack_from(f"{form.order}{count}{letter}", data, start)


def _form_of(data: bytes) -> _Form:
    """Return the formats of numbers, by the byte order and the version in the file's head."""
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", data, 2)[0] == 43:
        return _Form(order, "Q", "Q", 20, 8)
    return _Form(order, "H", "I", 12, 4)


def _pages(data: bytes, form: _Form) -> Iterator[list[bytes]]:
    """Yield the entries of each directory in the chain, as far as it can be read, up to `PAGES_MAX`."""
    at, seen = form.first_at, set[int]()
    while len(seen) < PAGES_MAX:
        try:
            (start,) = struct.unpack_from(form.order + form.offset, data, at)
            if start == 0 or start in seen:
                return
            seen.add(start)
            (count,) = struct.unpack_from(form.order + form.counter, data, start)
        except struct.error:
            return
        first = start + struct.calcsize(form.order + form.counter)
        at = first + count * form.entry_bytes
        if count > ENTRIES_MAX or at > len(data):
            return
        yield [data[begin : begin + form.entry_bytes] for begin in range(first, at, form.entry_bytes)]


def _tag(entry: bytes, form: _Form) -> int:
    return struct.unpack_from(f"{form.order}H", entry)[0]


def _count(entry: bytes, form: _Form) -> int:
    """Return the number of an entry's values."""
    return struct.unpack_from(form.order + form.offset, entry, 4)[0]


def _value(entry: bytes, form: _Form) -> int:
    """Return the one number that stands in the entry itself."""
    kind = struct.unpack_from(f"{form.order}H", entry, 2)[0]
    where = form.entry_bytes - struct.calcsize(form.order + form.offset)
    return struct.unpack_from(form.order + ("H" if kind == 3 else "I"), entry, where)[0]


def _is_smaller(page: list[bytes], form: _Form) -> bool:
    """Return whether a page is a thumbnail or a mask of another page."""
    return any(_tag(entry, form) == NEW_SUBFILE_TYPE and _value(entry, form) & _SMALLER_OR_MASK for entry in page)


def _is_sound(entry: bytes, form: _Form, data: bytes) -> bool:
    """Return whether an entry's kind is known and its values lie within the file. An orientation must be 1 to 8."""
    kind = struct.unpack_from(f"{form.order}H", entry, 2)[0]
    count = _count(entry, form)
    size = _SIZES_BYTES.get(kind, 0) * count
    if _tag(entry, form) == ORIENTATION_TAG:
        return kind == 3 and count == 1 and UPRIGHT <= _value(entry, form) <= 8
    where = form.entry_bytes - struct.calcsize(form.order + form.offset)
    if size <= form.entry_bytes - where:
        return size > 0
    return struct.unpack_from(form.order + form.offset, entry, where)[0] + size <= len(data)
