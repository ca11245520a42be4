"""Turn an untrusted image into a clean PNG. The decoding happens in `decode`, in a child that can be killed.

`submit` calls `Normaliser.normalise` with one spool that holds the image and another one for the PNG.
"""

import asyncio
import struct
from asyncio.subprocess import Process
from mmap import mmap

from services.edge.errors import ImageRefused, Overloaded
from services.edge.image.decode import CPU_S_MAX, DEAR_PIXELS_MIN, REFUSED_EXIT
from services.edge.resources.child import child, lost, used_up_its_cpu, was_killed
from services.edge.resources.spool import Spool
from services.edge.resources.turns import Turns

INSPECT_WITHIN_S = 10.0
DECODE_WITHIN_S = 20.0
DECODERS_MAX = 2
DEAR_DECODERS_MAX = 1
DEAR_WAITING_MAX = 3
CHILDREN_MAX = 8
"""Children that inspect an image, wait, or decode."""
CHILDREN_SHARE = 6
"""The most children with small files, and with large files. More than those that decode and the costly that wait."""
LARGE_BYTES_MIN = 1024 * 1024
WAITING_MAX = 200
WAIT_WITHIN_S = 20.0
PNG_SIZE_AT = 16
START, BROKEN_EXIT = b"start\n", 1


class Normaliser:
    """Normalises images, and bounds how many are decoded at once. One for the process.

    A child first inspects an image's head and reports the cost of decoding. Costly images share one of the decoders,
    and few of them may wait for it, so that cheap ones always get through; likewise small files beside large ones.
    """

    def __init__(self, *, within_s: float = DECODE_WITHIN_S) -> None:
        self._children = Turns(most=CHILDREN_MAX, share=CHILDREN_SHARE, waiting_max=WAITING_MAX, within_s=WAIT_WITHIN_S)
        self._decoders = Turns(
            most=DECODERS_MAX, share=DEAR_DECODERS_MAX, waiting_max=DEAR_WAITING_MAX, within_s=WAIT_WITHIN_S
        )
        self._within_s = within_s

    async def normalise(self, picture: Spool, png: Spool, *, is_inline: bool) -> None:
        """Write the image to `png`, an empty spool, as a PNG in 8-bit sRGB: upright, opaque, without metadata.

        `is_inline` says that `picture` holds a `data:` URI. Raises `ImageRefused` or `Overloaded`.
        """
        descriptors = ((await picture.file()).fileno(), (await png.file()).fileno())
        arguments = (*map(str, descriptors), "data:" if is_inline else "")
        size = "large" if picture.size_bytes >= LARGE_BYTES_MIN else "small"
        async with (
            self._children.turn(size),
            child("services.edge.image.decode", *arguments, files=descriptors) as process,
        ):
            owners = ("dear",) if await _inspected(process) >= DEAR_PIXELS_MIN else ()
            async with self._decoders.turn(*owners):
                await self._decode(process)
        png.count_written()

    async def _decode(self, process: Process) -> None:
        """Let the child decode, and wait for its end. Raises `ImageRefused`, or `Overloaded` after `within_s`."""
        try:
            async with asyncio.timeout(self._within_s):
                _, words = await process.communicate(START)
        except TimeoutError as error:  # the CPU limit would have ended the child before: the machine is busy
            raise Overloaded from error
        _check_end(process, words)


def png_size(png: bytes | mmap) -> tuple[int, int]:
    """Return the width and height of a PNG, in pixels."""
    width, height = struct.unpack_from(">II", png, PNG_SIZE_AT)
    return width, height


async def _inspected(process: Process) -> int:
    """Return the cost of decoding, in pixels, once the child reports it.

    Raises `ImageRefused` if the child refuses the image, or `Overloaded`, also after `INSPECT_WITHIN_S`.
    """
    assert process.stdout is not None  # noqa: S101  # a pipe
    try:
        async with asyncio.timeout(INSPECT_WITHIN_S):
            said = await process.stdout.readline()
            if said:
                return int(said)
            _, words = await process.communicate()
    except TimeoutError as error:
        raise Overloaded from error
    _check_end(process, words)
    raise lost(process, words)


def _check_end(process: Process, words: bytes) -> None:
    """Raise if the child has failed: `Overloaded` if it was killed or broke, `ImageRefused` for any other failure.

    `words` is its standard error.
    """
    if process.returncode == REFUSED_EXIT:
        raise ImageRefused(words.decode().strip())
    if used_up_its_cpu(process):
        raise ImageRefused(f"it takes more than {CPU_S_MAX} s of computing to decode")
    if was_killed(process) or process.returncode == BROKEN_EXIT:
        raise lost(process, words)
    if process.returncode != 0:
        raise ImageRefused("it cannot be decoded")
