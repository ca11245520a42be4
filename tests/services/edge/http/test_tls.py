"""TLS of the edge itself: what it agrees to, what a handshake may cost, and a certificate that is renewed."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from contracts.process.start import EX_CONFIG
from services.edge.http.certificates import LOOKED_AT_EVERY_S
from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.certificates import Files, Pair, made
from tests.kit.edge import Edge
from tests.kit.process import completed
from tests.kit.waiting import eventually
from tests.services.edge import handshakes
from tests.services.edge.talk import CUT_WITHIN_S, Impatient, get, parsed, talk
from tests.services.edge.test_connections import CONNECTIONS, Small

RENEWALS = 4
AT_ONCE = 8
UNREAD = 20
"""So many times 1.5 MB are asked for, and not read."""
GROWTH_KB_MAX = 12 * 1024
RENEWED_WITHIN_S = 10 * LOOKED_AT_EVERY_S
CIPHERS = {"AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return made()


@pytest.fixture
def files(tmp_path: Path, pair: Pair) -> Files:
    return Files(tmp_path, pair)


@pytest.fixture
async def impatient(tmp_path: Path, files: Files) -> AsyncGenerator[Impatient, None]:
    """An edge with TLS and short time limits, without a broker: what is tested comes before one is asked."""
    edge = Impatient(tmp_path, Broker(tmp_path), LOG_LEVEL="debug", **files.variables)
    edge.start()
    await eventually(lambda: alive(edge, made_of(files)), within_s=30)
    yield edge
    assert edge.stop() == 0, edge.text


def made_of(files: Files) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files.cert)


async def alive(edge: Edge, client: ssl.SSLContext) -> bool:
    assert edge.alive, edge.text
    try:
        async with talk(edge, ssl=client) as connection:
            await connection.say(get("/livez"))
            return (await connection.answer())[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("of_rsa", [False, True], ids=["elliptic", "rsa"])
async def test_only_new_versions_and_ciphers_with_forward_secrecy_are_agreed_to(tmp_path: Path, of_rsa: bool) -> None:
    files = Files(tmp_path, made(of_rsa=of_rsa))
    edge = Edge(tmp_path, Broker(tmp_path), LOG_LEVEL="debug", **files.variables)
    edge.start()
    try:
        await eventually(lambda: alive(edge, made_of(files)), within_s=30)
        assert await handshakes.versions(edge.port) == {"tls1_2", "tls1_3"}

        def too_old() -> bool:  # TLS 1.0 and 1.1 were asked for
            return [line.get("reason") for line in edge.lines].count("UNSUPPORTED_PROTOCOL") == 2

        await eventually(too_old)
        accepted = {f"ECDHE-{'RSA' if of_rsa else 'ECDSA'}-{cipher}" for cipher in CIPHERS}
        assert await handshakes.ciphers(edge.port) == accepted
    finally:
        assert edge.stop() == 0


async def test_a_handshake_has_a_time(impatient: Impatient) -> None:
    for said in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n"):
        async with talk(impatient) as connection:
            await connection.say(said)
            await connection.rest()
    async with talk(impatient) as connection:
        await connection.say(b"\x16\x03\x01\x40\x00")
        await connection.trickle()
    await eventually(lambda: len([line for line in impatient.lines if line["event"] == "handshake_failed"]) == 4)
    reasons = {line["reason"] for line in impatient.lines if line["event"] == "handshake_failed"}
    assert "HTTP_REQUEST" in reasons


async def test_a_head_has_its_time_after_the_handshake(impatient: Impatient, files: Files) -> None:
    async with talk(impatient, ssl=made_of(files)) as connection:
        await connection.say(b"GET /livez HTTP/1.1\r\nHost: a\r\n")
        assert b"200" not in await connection.trickle()


async def test_an_answer_that_nobody_reads_takes_little_memory_and_ends_its_connection(
    impatient: Impatient, files: Files
) -> None:
    peak_kb = impatient.peak_kb
    async with talk(impatient, ssl=made_of(files), limit=1024) as deaf:
        await deaf.say(get("/docs/swagger-ui-bundle.js") * UNREAD)
        assert connected(impatient) >= 1
        await eventually(lambda: connected(impatient) == 0, within_s=10 * CUT_WITHIN_S)
    assert impatient.peak_kb - peak_kb < GROWTH_KB_MAX
    assert await alive(impatient, made_of(files))


async def test_a_refusal_arrives_though_tls_cannot_close_one_side(impatient: Impatient, files: Files) -> None:
    async with talk(impatient, ssl=made_of(files)) as connection:
        await connection.say(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        status, body = parsed(await connection.rest())
    assert (status, body["error"]) == (400, "BAD_REQUEST")


async def test_an_absolute_address_may_say_https(impatient: Impatient, files: Files) -> None:
    async with talk(impatient, ssl=made_of(files)) as connection:
        await connection.say(get("https://localhost/livez"))
        assert (await connection.answer())[0] == 200


async def test_browsers_are_told_to_stay_with_tls(impatient: Impatient, files: Files) -> None:
    async with talk(impatient, ssl=made_of(files)) as connection:
        await connection.say(get("/livez"))
        head = await connection.until(b"\r\n\r\n")
    for said in (b"strict-transport-security: max-age=31536000", b"cross-origin-opener-policy: same-origin"):
        assert head.lower().count(said) == 1


def connected(edge: Edge) -> int:
    """Return how many connections to an edge are established, as the kernel has them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{edge.port:04X}") and row[3] == "01" for row in rows)


def descriptors(edge: Edge) -> int:
    return sum(1 for _ in Path(f"/proc/{edge.pid}/fd").iterdir())


async def test_connections_without_a_handshake_make_way_for_clients(tmp_path: Path, files: Files) -> None:
    edge = Small(tmp_path, Broker(tmp_path), **files.variables)
    edge.start()
    try:
        await eventually(lambda: alive(edge, made_of(files)), within_s=30)
        before = descriptors(edge)
        async with AsyncExitStack() as held:
            silent = [await held.enter_async_context(talk(edge)) for _ in range(4 * CONNECTIONS)]
            async with asyncio.timeout(CUT_WITHIN_S):  # under the time of a handshake
                assert await alive(edge, made_of(files))
                assert await silent[0].rest() == b""
            assert descriptors(edge) < before + 2 * CONNECTIONS
    finally:
        assert edge.stop() == 0


async def test_a_renewed_certificate_costs_no_connection(tmp_path: Path, pair: Pair, files: Files) -> None:
    edge = Edge(tmp_path, Broker(tmp_path), **files.variables)
    edge.start()
    pairs = [pair, *(made(of_rsa=n % 2 == 0) for n in range(RENEWALS))]
    anyone = ssl.create_default_context(cadata="".join(each.cert.decode() for each in pairs))
    try:
        await eventually(lambda: alive(edge, anyone), within_s=30)
        done, answers = asyncio.Event(), list[int]()
        connector = aiohttp.TCPConnector(ssl=anyone, force_close=True)
        async with auth.client_session(connector=connector) as client, talk(edge, ssl=anyone) as kept:

            async def ask_on() -> None:
                while not done.is_set():
                    async with client.get(f"{edge.url}/livez") as answer:
                        answers.append(answer.status)

            asking = [asyncio.create_task(ask_on()) for _ in range(AT_ONCE)]
            for each in pairs[1:]:
                files.replace(each)
                await eventually(lambda each=each: serves(edge, anyone, each), within_s=RENEWED_WITHIN_S)
            done.set()
            await asyncio.gather(*asking)
            await kept.say(get("/livez"))
            assert (await kept.answer())[0] == 200, "a connection outlives the certificate that it began with"
        assert set(answers) == {200}
        assert len(answers) > 10 * RENEWALS
        assert [line["event"] for line in edge.lines].count("certificate_renewed") >= RENEWALS
    finally:
        assert edge.stop() == 0


async def serves(edge: Edge, client: ssl.SSLContext, pair: Pair) -> bool:
    """Return whether a new connection gets this certificate."""
    async with talk(edge, ssl=client) as connection:
        return connection.peer_certificate == pair.der


@pytest.mark.parametrize("half", ["cert", "key"])
async def test_a_pair_that_cannot_serve_is_logged_once_and_the_one_before_goes_on(
    tmp_path: Path, pair: Pair, files: Files, half: str
) -> None:
    edge, later = Edge(tmp_path, Broker(tmp_path), **files.variables), made()
    edge.start()
    anyone = ssl.create_default_context(cadata=pair.cert.decode() + later.cert.decode())

    def said() -> list[str]:
        return [line["error"] for line in edge.lines if line["event"] == "certificate_not_renewed"]

    try:
        await eventually(lambda: alive(edge, anyone), within_s=30)
        path, content = (files.cert, later.cert) if half == "cert" else (files.key, later.key)
        path.write_bytes(content[: len(content) // 2])
        await eventually(lambda: len(said()) == 1, within_s=RENEWED_WITHIN_S)
        assert said()[0].startswith(f"TLS_{half.upper()} names a file without a whole ")
        path.write_bytes(content)
        await eventually(lambda: len(said()) == 2, within_s=RENEWED_WITHIN_S)
        assert said()[1].startswith("TLS_KEY names another key ")
        assert await serves(edge, anyone, pair)
        path.unlink()
        await eventually(lambda: len(said()) == 3, within_s=RENEWED_WITHIN_S)
        assert f"TLS_{half.upper()} names a file that cannot be read" in said()[2]
        files.replace(later)
        await eventually(lambda: serves(edge, anyone, later), within_s=RENEWED_WITHIN_S)
        assert len(said()) == 3
    finally:
        assert edge.stop() == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("no key", "TLS_KEY must be set too"),
        ("no certificate", "TLS_CERT must be set too"),
        ("another key", "TLS_KEY names another key than that of the first certificate in TLS_CERT"),
        ("a missing file", "TLS_CERT was "),
        ("no PEM", "TLS_CERT names a file without a whole certificate in PEM"),
        ("a certificate as the key", "TLS_KEY names a file without a whole private key in PEM"),
        ("a passphrase", "TLS_KEY names a key that is encrypted; take one without a passphrase"),
    ],
)
def test_a_start_with_a_pair_that_cannot_serve_names_the_variable(
    tmp_path: Path, pair: Pair, files: Files, wrong: str, sentence: str
) -> None:
    variables = files.variables
    match wrong:
        case "no key":
            del variables["TLS_KEY"]
        case "no certificate":
            del variables["TLS_CERT"]
        case "another key":
            files.key.write_bytes(made().key)
        case "a missing file":
            files.cert.unlink()
        case "no PEM":
            files.cert.write_bytes(b"\x00" * 100)
        case "a certificate as the key":
            files.key.write_bytes(pair.cert)
        case _:
            files.replace(made(passphrase=b"secret"))
    done = completed("-m", "services.edge", within_s=60, **variables)
    assert done.returncode == EX_CONFIG
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
