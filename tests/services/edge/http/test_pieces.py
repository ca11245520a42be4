"""The cutting of input into pieces, without a server."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.edge.http.pieces import Pieces

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BLANK = b"\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"2\r\n{}\r\n0\r\n\r\n"


def cut(reads: list[bytes]) -> list[bytes]:
    pieces, found = Pieces(), list[bytes]()
    for read in reads:
        pieces.waiting += read
        while pieces.waiting:
            found.append(pieces.next(of_head=True))
    return found


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(
    st.lists(st.sampled_from([GET, CHUNKED, BODY, b"\r\n", b"\n", b"x"]), max_size=12), st.lists(st.integers(0, 500))
)
def test_nothing_is_lost_and_no_piece_goes_on_behind_an_empty_line(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    found = cut(split(data, places))
    assert b"".join(found) == data
    assert all(BLANK not in piece[:-1] for piece in found)


def test_requests_come_one_by_one_however_they_are_read() -> None:
    for places in ([], [1], [len(GET) - 1], [len(GET) - 2, len(GET) - 3], [len(GET) + 1]):
        pieces, lines = Pieces(), list[bytes]()
        for read in split(5 * GET, places):
            pieces.waiting += read
            while pieces.waiting:
                if pieces.next(of_head=True).endswith(b"\n") and pieces.in_head:
                    lines.append(pieces.take_line())
        assert lines == [b"GET / HTTP/1.1"] * 5


def test_a_body_of_known_length_is_one_piece_whatever_is_in_it() -> None:
    pieces = Pieces()
    pieces.body_left = 10
    pieces.waiting = b"\r\n\r\n\r\n\r\nab" + GET
    assert pieces.next(of_head=False) == b"\r\n\r\n\r\n\r\nab"
    assert pieces.next(of_head=True) == GET
    assert pieces.take_line() == b"GET / HTTP/1.1"
    assert not pieces.in_head
