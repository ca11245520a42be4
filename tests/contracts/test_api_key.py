import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import api_key
from contracts.api_key import KEY_CHARS, ApiKey, TenantLimits, new_key, parsed, sha256_of, text_of
from contracts.decoding import Undecodable

BASE62 = string.digits + string.ascii_letters
IDS = st.text(BASE62, min_size=api_key.ID_CHARS, max_size=api_key.ID_CHARS)
SECRETS = st.text(BASE62, min_size=api_key.SECRET_CHARS, max_size=api_key.SECRET_CHARS)


def key(**changes: object) -> ApiKey:
    fields = {"id": "0aB3dE6f", "name": "a key", "tenant": "acme", "scopes": ("read",), "secret_sha256": "0" * 64}
    return ApiKey(**{"created_at": 1.0, **fields, **changes})  # pyright: ignore[reportArgumentType]


@given(IDS, SECRETS)
def test_a_key_is_parsed_into_what_it_was_made_of(key_id: str, secret: str) -> None:
    text = text_of(key_id, secret)
    assert len(text) == KEY_CHARS and re.fullmatch(r"wj_[0-9A-Za-z_]+", text)
    assert parsed(text) == (key_id, secret)


@given(IDS, SECRETS, st.integers(3, KEY_CHARS - 1), st.sampled_from(BASE62))
def test_a_key_with_a_wrong_character_is_no_key(key_id: str, secret: str, at: int, other: str) -> None:
    text = text_of(key_id, secret)
    changed = text[:at] + other + text[at + 1 :]
    assert parsed(changed) is None or changed == text


@given(st.text(max_size=2 * KEY_CHARS))
def test_any_text_is_a_key_or_is_not(text: str) -> None:
    assert parsed(text) is None or text_of(*parsed(text) or ("", "")) == text


@pytest.mark.parametrize("text", ["", "wj_", "wj__", "WJ_" + "0" * 48, "wj_" + "0" * 10_000, "wj_\n", "sk-1234"])
def test_what_has_not_the_form_is_no_key(text: str) -> None:
    assert parsed(text) is None


def test_a_line_break_at_the_end_is_no_part_of_a_key() -> None:
    text = text_of(*new_key())
    assert parsed(text + "\n") is None and parsed(text[:-1] + "\n") is None


def test_a_secret_has_more_than_160_bits_and_no_two_are_alike() -> None:
    assert 62**api_key.SECRET_CHARS > 2**160
    assert len({new_key() for _ in range(1000)}) == 1000


def test_what_is_kept_of_a_key_is_not_its_secret() -> None:
    key_id, secret = new_key()
    kept = api_key.encode_entry(key(id=key_id, secret_sha256=sha256_of(secret)))
    assert secret.encode() not in kept
    assert api_key.decode_key(kept) == key(id=key_id, secret_sha256=sha256_of(secret))


def test_a_key_is_good_until_it_expires_or_is_revoked() -> None:
    assert key().is_good(1e12)
    assert key(expires_at=10.0).is_good(9.9) and not key(expires_at=10.0).is_good(10.0)
    assert not key(revoked_at=5.0).is_good(4.0), "clocks differ; revoked is revoked"


@pytest.mark.parametrize(
    "changes",
    [{"id": "a.b"}, {"id": "short"}, {"tenant": "A"}, {"tenant": "a.b"}, {"scopes": ()}, {"scopes": ("root",)},
     {"name": "a\nb"}, {"name": ""}],
    ids=str,
)  # fmt: skip
def test_an_entry_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Undecodable):
        api_key.decode_key(api_key.encode_entry(key(**changes)))


def test_limits_are_bounded() -> None:
    kept = api_key.encode_entry(TenantLimits(tenant="acme", jobs_max=3))
    assert api_key.decode_limits(kept) == TenantLimits(tenant="acme", jobs_max=3)
    with pytest.raises(Undecodable):
        api_key.decode_limits(b'{"tenant":"acme","jobs_max":0}')
