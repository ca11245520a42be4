"""The parameters of live routes."""

import pytest

from services.edge.errors import Invalid
from services.edge.live.query import FIELDS_MAX, after_in, wait_in


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"", 0), (b"a=b", 0), (b"wait=0", 0), (b"wait=30", 30), (b"wait=0.5", 0.5), (b"wait=60", 60),
        (b"x=1&wait=7", 7), (b"wait=0.30000000000000004", 0.30000000000000004), (b"wait=1e1", 10), (b"wait=5E-1", 0.5),
        (b"wait=-0.0", 0),
    ],
)  # fmt: skip
def test_a_wait_is_a_number_of_seconds(query: bytes, seconds: float) -> None:
    assert wait_in(query) == seconds


@pytest.mark.parametrize(
    "query",
    [
        b"wait=", b"wait", b"wait=61", b"wait=60.1", b"wait=-1", b"wait=+1", b"wait=1e2", b"wait=1e", b"wait=nan",
        b"wait=inf", b"wait=1.", b"wait=.5",
        b"wait=%D9%A3", b"wait=1&wait=1", b"wait=1_0", b"wait= 1", b"wait=0x1",
        b"wait=" + b"0" * 33, b"wait=\xb2", b"wait=1e999", b"wait=-1e-9",
    ],
)  # fmt: skip
def test_a_faulty_wait_is_named(query: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        wait_in(query)
    assert [each.field for each in caught.value.objections] == ["wait"]
    assert "may be" in str(caught.value)


def test_a_query_of_many_fields_is_not_read() -> None:
    with pytest.raises(Invalid):
        wait_in(b"&".join([b"a=b"] * (FIELDS_MAX + 1)))


@pytest.mark.parametrize(
    ("header", "query", "after"),
    [
        (None, b"", None), ("", b"", None), (None, b"after=0", 0), (None, b"after=12", 12), ("7", b"", 7),
        ("7", b"after=12", 7), (" 7 ", b"", 7), (None, b"after=9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_the_last_event_is_named_by_the_header_or_else_by_the_query(
    header: str | None, query: bytes, after: int | None
) -> None:
    assert after_in(header, query) == after


@pytest.mark.parametrize("value", ["-1", "x", "1.0", "9223372036854775808", "1" * 1000, "²", "1;2"])
def test_a_faulty_last_event_is_named(value: str) -> None:
    after = f"after={value}".encode("latin-1")
    for header, query, name in ((value, b"", "Last-Event-ID"), (None, after, "after"), ("7", after, "after")):
        with pytest.raises(Invalid) as caught:
            after_in(header, query)
        assert [each.field for each in caught.value.objections] == [name]
        assert len(str(caught.value)) < 300


def test_two_last_events_are_one_too_many() -> None:
    with pytest.raises(Invalid):
        after_in(None, b"after=1&after=1")
