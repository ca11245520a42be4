"""An image of unknown making → a clean PNG. The decoding itself happens in `decode`, in a child that can be killed."""

import asyncio
import sys

DECODE_WITHIN_S = 20.0
DECODERS_MAX = 2
REFUSED_EXIT = 3


class ImageRefused(Exception):
    """The image is not taken; the text says why and is safe to show."""


class Normaliser:
    """Bounds how many images are decoded at once; one for the process."""

    def __init__(self, *, within_s: float = DECODE_WITHIN_S) -> None:
        self._turns = asyncio.Semaphore(DECODERS_MAX)
        self._within_s = within_s

    async def normalise(self, data: bytes) -> bytes:
        """The image as 8-bit RGB without metadata, upright, as PNG. Raises `ImageRefused`."""
        async with self._turns:
            return await self._decode(data)

    async def _decode(self, data: bytes) -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.edge.decode",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": ""},  # nothing of ours: no credentials, no addresses
        )
        try:
            async with asyncio.timeout(self._within_s):
                png, words = await child.communicate(data)
        except TimeoutError as error:
            raise ImageRefused("it takes too long to decode") from error
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode == REFUSED_EXIT:
            raise ImageRefused(words.decode().strip())
        if child.returncode != 0:  # killed by its limits, or broken by what it read
            raise ImageRefused("it cannot be decoded")
        return png
