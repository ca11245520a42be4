"""Keys and tenants as `just key` makes, shows and revokes them, on a real broker."""

import time

import pytest

from contracts import api_key, subjects
from contracts.broker import Bus
from ops import key_entries
from ops.key_entries import create, listed, revoke
from tests.kit.broker import Broker
from tests.kit.process import completed

WITHIN_S = 40
DAY_S = 24 * 3600


async def entries(link: Bus) -> list[str]:
    stored = await link.read(key_entries.STREAM, subjects.bucket_key(subjects.KEYS_BUCKET, ">"))
    return listed(stored, time.time())


async def test_a_key_is_printed_once_and_kept_as_a_hash(link: Bus, broker: Broker) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = completed("-m", "ops.key", *arguments, within_s=WITHIN_S, **broker.environment)
        return done.returncode, done.stdout, done.stderr

    code, text, beside = run("create", "of the web page", "--tenant", "acme", "--scopes", "submit, read")
    found = api_key.parsed(text.strip())
    assert code == 0 and found is not None and "once" in beside and text.strip() not in beside
    key_id, secret = found
    for stored in await link.read(key_entries.STREAM, subjects.bucket_key(subjects.KEYS_BUCKET, ">")):
        assert secret.encode() not in stored.data
    code, lines, _ = run("list")
    assert code == 0 and f"{key_id}  of the web page  acme    submit,read  good for 364 d" in lines
    assert run("limits", "acme", "--jobs", "3")[0] == 0
    assert run("limits", "acme", "--a-minute", "60")[1].split()[-3:] == ["acme", "3", "60"]
    assert run("limits", "acme", "--jobs", "none")[1].split()[-3:] == ["acme", "none", "60"]
    assert run("revoke", key_id)[1].startswith(f"revoked {key_id} (of the web page, of acme)")
    assert "revoked" in run("list")[1] and "acme    none             60" in run("list")[1]
    code, _, words = run("revoke", "0" * 8)
    assert code == 1 and words.strip() == "there is no key 00000000; `just key list` shows all"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "n"), "--tenant"),
        (("create", "n", "--tenant", "A.B"), "lower-case letters, digits and dashes"),
        (("create", "a\nb", "--tenant", "a"), "printable characters"),
        (("create", "n", "--tenant", "a", "--scopes", "root"), "admin or read or submit"),
        (("create", "n", "--tenant", "a", "--expires-days", "-1"), "--expires-days"),
        (("limits", "a", "--jobs", "0"), "a whole number from 1 to 1000"),
        (("revoke", "../x"), "argument id"),
        ((), "command"),
    ],
    ids=str,
)
def test_a_wrong_word_is_refused_with_what_is_allowed(arguments: tuple[str, ...], words: str) -> None:
    done = completed("-m", "ops.key", *arguments, within_s=WITHIN_S, NATS_URL="nats://127.0.0.1:1")
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


async def test_a_broker_without_the_bucket_is_not_provisioned(broker: Broker) -> None:
    done = completed("-m", "ops.key", "list", within_s=WITHIN_S, **broker.environment)
    assert done.returncode == 1 and "just provision" in done.stderr


async def test_a_key_is_revoked_once(link: Bus) -> None:
    found = api_key.parsed(await create(link, "n", "acme", ("read",), None))
    assert found is not None
    first = await revoke(link, found[0])
    assert await revoke(link, found[0]) == first and first.revoked_at is not None


async def test_the_list_shows_every_end_and_what_cannot_be_read(link: Bus) -> None:
    now = time.time()
    for name, expires_at in (("for ever", None), ("over", now - DAY_S), ("soon over", now + 2.5 * DAY_S)):
        await create(link, name, "acme", ("admin",), expires_at)
    await link.put_last(subjects.KEYS_BUCKET, "key.broken", b"{}")
    lines = "\n".join(await entries(link))
    for words in ("good, does not expire", "expired 1 d 0 h ago", "good for 2 d 1", "key.broken", "cannot be read"):
        assert words in lines
