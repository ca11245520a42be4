"""What a server agrees to in a handshake of TLS, found by trying with OpenSSL's own client, as testssl.sh does."""

import asyncio

LOWEST = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
"""All ciphers that OpenSSL has, weak ones too."""
VERSIONS = ("tls1", "tls1_1", "tls1_2", "tls1_3")
WITHIN_S = 60
_NONE = "Cipher is (NONE)"


async def versions(port: int) -> set[str]:
    """Return the versions that a server agrees to, of those in `VERSIONS`."""
    return {version for version in VERSIONS if await _agrees(port, f"-{version}", "-cipher", LOWEST)}


async def ciphers(port: int) -> set[str]:
    """Return the ciphers of TLS 1.2 that a server agrees to, each tried alone."""
    offered = (await _said("ciphers", "-tls1_2", "-s", LOWEST)).strip().split(":")
    assert len(offered) > 20, offered
    return {name for name in offered if await _agrees(port, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")}


async def _agrees(port: int, *options: str) -> bool:
    """Return whether a server agrees to what these options of OpenSSL's client ask for."""
    said = await _said("s_client", "-connect", f"127.0.0.1:{port}", "-servername", "video.example.org", *options)
    assert "Cipher is " in said, said
    return _NONE not in said


async def _said(*words: str) -> str:
    """Return what a command of OpenSSL prints."""
    running = await asyncio.create_subprocess_exec(
        "openssl",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(WITHIN_S):
        return (await running.communicate())[0].decode(errors="replace")
