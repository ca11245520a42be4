"""Turn an untrusted image into a clean PNG. The decoding happens in `decode`, in a child that can be killed.

`submit` calls `Normaliser.normalise` with one spool that holds the image and another one for the PNG.
"""

import asyncio
import struct
from mmap import mmap

from contracts.outbound.turns import Turns
from services.edge.errors import ImageRefused, Overloaded
from services.edge.image.data_uri import INLINE
from services.edge.image.decode import CPU_S_MAX, DEAR_PIXELS_MIN, REFUSED_EXIT
from services.edge.image.picture.shrink import COVER_PX_MIN
from services.edge.resources import machine
from services.edge.resources.child import Child, lost, used_up_its_cpu, was_killed
from services.edge.resources.orders import BROKEN_EXIT
from services.edge.resources.sandbox import Sandbox
from services.edge.resources.spool import Spool

INSPECT_WITHIN_S = 10.0
DECODE_WITHIN_S = 20.0
DECODERS_MIN, DECODERS_LIMIT = 2, 32
DECODER_BYTES = 320 * 1024**2
"""What a decoder takes for the largest image that is not costly: `DEAR_PIXELS_MIN` pixels at 18 bytes, and itself."""
MEMORY_SHARE = 2
"""Decoders may take one such part of the machine's memory. The costly image, which may take more, is a single one."""
DEAR_DECODERS_MAX = 1
DEAR_WAITING_MAX = 3
LARGE_BYTES_MIN = 1024 * 1024
WAITING_MAX = 200
WAIT_WITHIN_S = 20.0
PNG_SIZE_AT = 16
START = b"start\n"
COST_DIGITS_MAX = 12


def decoders_for(cores: int, memory_bytes: int) -> int:
    """Return how many images may be decoded at once: one a core, if there is memory for them, and two at least."""
    return max(DECODERS_MIN, min(cores, memory_bytes // MEMORY_SHARE // DECODER_BYTES, DECODERS_LIMIT))


DECODERS_MAX = decoders_for(machine.cores(), machine.memory_bytes())
CHILDREN_SHARE = DECODERS_MAX + DEAR_WAITING_MAX + 1
"""The most children with small files, and with large files. More than those that decode and the costly that wait."""
CHILDREN_MAX = CHILDREN_SHARE + 2
"""Children that inspect an image, wait, or decode."""


class Normaliser:
    """Normalises images, and bounds how many are decoded at once. One for the process.

    A child first inspects an image's head and reports the cost of decoding. Costly images share one of the decoders,
    and few of them may wait for it, so that cheap ones always get through; likewise small files beside large ones.
    """

    def __init__(self, sandbox: Sandbox, *, within_s: float = DECODE_WITHIN_S) -> None:
        self._sandbox = sandbox
        self._children = Turns(most=CHILDREN_MAX, share=CHILDREN_SHARE, waiting_max=WAITING_MAX, within_s=WAIT_WITHIN_S)
        self._decoders = Turns(
            most=DECODERS_MAX, share=DEAR_DECODERS_MAX, waiting_max=DEAR_WAITING_MAX, within_s=WAIT_WITHIN_S
        )
        self._within_s = within_s

    async def normalise(self, picture: Spool, png: Spool, *, is_inline: bool, cover_px: int = COVER_PX_MIN) -> None:
        """Write the image to `png`, an empty spool, as a PNG in 8-bit sRGB: upright, opaque, without metadata.

        `is_inline` says that `picture` holds a `data:` URI. `cover_px` is the longest side of a video that the image
        may be for; an image far larger is shrunk. Raises `ImageRefused` or `Overloaded`.
        """
        files = ((await picture.file()).fileno(), (await png.file()).fileno())
        size = "large" if picture.size_bytes >= LARGE_BYTES_MIN else "small"
        async with (
            self._children.turn(size),
            self._sandbox.child("decode", INLINE if is_inline else "", str(cover_px), files=files) as child,
        ):
            owners = ("dear",) if await _cost_by_inspection(child) >= DEAR_PIXELS_MIN else ()
            async with self._decoders.turn(*owners):
                await self._decode(child)
        png.count_written()

    async def _decode(self, child: Child) -> None:
        """Let the child decode, and wait for its end. Raises `ImageRefused`, or `Overloaded` after `within_s`."""
        try:
            async with asyncio.timeout(self._within_s):
                child.tell(START)
                words = await child.rest()
        except TimeoutError as error:  # the CPU limit would have ended the child before: the machine is busy
            raise Overloaded from error
        _check_end(child, words)


def png_size(png: bytes | mmap) -> tuple[int, int]:
    """Return the width and height of a PNG, in pixels."""
    width, height = struct.unpack_from(">II", png, PNG_SIZE_AT)
    return width, height


async def _cost_by_inspection(child: Child) -> int:
    """Return the cost of decoding, in pixels, once the child says it.

    Raises `ImageRefused` if the child refuses the image, or `Overloaded`, also after `INSPECT_WITHIN_S`.
    """
    try:
        async with asyncio.timeout(INSPECT_WITHIN_S):
            said = await child.line()
            if said is not None and said.isdigit() and len(said) <= COST_DIGITS_MAX:
                return int(said)
            words = (said or b"") + await child.rest()
    except TimeoutError as error:
        raise Overloaded from error
    _check_end(child, words)
    raise lost(child, words)


def _check_end(child: Child, words: bytes) -> None:
    """Raise if the child has failed: `Overloaded` if it was killed or broke, `ImageRefused` for any other failure.

    `words` are its last ones.
    """
    if child.returncode == REFUSED_EXIT:
        raise ImageRefused(words.decode(errors="replace").strip())
    if used_up_its_cpu(child):
        raise ImageRefused(f"it takes more than {CPU_S_MAX} s of computing to decode")
    if was_killed(child) or child.returncode == BROKEN_EXIT:
        raise lost(child, words)
    if child.returncode != 0:
        raise ImageRefused("it cannot be decoded")
