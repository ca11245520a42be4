import pytest

from services.edge.auth import rates
from services.edge.auth.rates import Rates, bucket_of
from services.edge.errors import AccessRefused


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(buckets: Rates, name: str, a_minute: int, tries: int) -> int:
    """Return how many of so many submissions are taken."""
    count = 0
    for _ in range(tries):
        try:
            buckets.take(name, a_minute)
        except AccessRefused:
            continue
        count += 1
    return count


def test_as_many_are_taken_as_are_allowed_in_a_minute_and_then_evenly() -> None:
    clock = Clock()
    buckets = Rates(clock)
    assert taken(buckets, "acme", 30, 100) == 30
    clock.now = 4.0
    assert taken(buckets, "acme", 30, 100) == 2
    clock.now = 10_000.0
    assert taken(buckets, "acme", 30, 100) == 30


def test_each_has_a_bucket_and_0_is_no_limit() -> None:
    buckets = Rates(Clock())
    assert taken(buckets, "acme", 1, 5) == 1
    assert taken(buckets, "other", 1, 5) == 1
    assert taken(buckets, "acme", 0, 50) == 50


def test_a_refusal_says_when_the_next_one_is_taken() -> None:
    clock = Clock()
    buckets = Rates(clock)
    buckets.take("acme", 2)
    buckets.take("acme", 2)
    with pytest.raises(AccessRefused) as refused:
        buckets.take("acme", 2)
    assert refused.value.status == 429
    assert refused.value.headers == {
        "Retry-After": "30",
        "RateLimit-Policy": '"submissions";q=2;w=60',
        "RateLimit": '"submissions";r=0;t=30',
    }
    clock.now = 30.0
    buckets.take("acme", 2)


def test_buckets_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "KNOWN_MAX", 3)
    buckets = Rates(Clock())
    for name in "abcdef":
        buckets.take(name, 1)
    assert len(buckets._buckets) == 3


def test_an_ipv6_client_is_its_network() -> None:
    assert bucket_of("2001:db8::1") == bucket_of("2001:db8::ffff:1") != bucket_of("2001:db8:0:1::1")
    assert bucket_of("::ffff:192.0.2.1") == bucket_of("192.0.2.1") == "192.0.2.1"
    assert bucket_of("") == ""
