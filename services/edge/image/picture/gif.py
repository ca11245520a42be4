"""GIF: its one picture, without comments and other extensions. Pure."""

from services.edge.image.picture.essence import DAMAGED, Essence, Refused

BLOCKS_MAX = 4096
SUB_BLOCKS_MAX = 512 * 1024
HEAD_BYTES = 13
TRAILER = b";"
CONTROL_BYTES = 8
_EXTENSION, _IMAGE = 0x21, 0x2C
_CONTROL = b"\x21\xf9\x04"
"""The beginning of a graphic control of the right length; any other one is left out."""


def essence(data: bytes) -> Essence:
    """Return the essence of a GIF. Raises `Refused` for an animated file, one of too many blocks, or no head."""
    if len(data) < HEAD_BYTES:
        raise Refused(DAMAGED)
    at = HEAD_BYTES + _table_bytes(data[10])
    head, control, picture, sub_blocks = data[:at], b"", b"", 0
    for _ in range(BLOCKS_MAX):
        if at + 2 > len(data) or data[at] not in (_EXTENSION, _IMAGE):
            break
        begin, kind = at, data[at]
        if kind == _IMAGE and picture:
            raise Refused("this is an animated GIF")
        at += 2 if kind == _EXTENSION else _descriptor_bytes(data, at)
        while at < len(data) and data[at]:
            at += 1 + data[at]
            sub_blocks += 1
            if sub_blocks > SUB_BLOCKS_MAX:
                raise Refused(f"it has more than {SUB_BLOCKS_MAX} blocks of data")
        at += 1
        if kind == _IMAGE:
            picture = data[begin:at]
        elif data[begin : begin + 3] == _CONTROL and at - begin == CONTROL_BYTES and not picture:
            control = data[begin:at]
    else:
        raise Refused(f"it has more than {BLOCKS_MAX} blocks")
    return Essence(data=head + control + picture + TRAILER, format="GIF")


def _table_bytes(flags: int) -> int:
    """Return the size in bytes of the colour table that these flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _descriptor_bytes(data: bytes, at: int) -> int:
    """Return the number of bytes before the data of the image at `at`: its descriptor, its colours, its code size."""
    return 11 + (_table_bytes(data[at + 9]) if at + 9 < len(data) else 0)
