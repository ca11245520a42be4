"""Heads of requests that are refused, against request smuggling, without a server."""

import pytest

from services.edge.http.heads import ONCE, fault, origin_form

LINE = b"POST /video/submit HTTP/1.1"
HOST = (b"host", b"a")


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS /livez RTSP/1.0", b"DESCRIBE /livez RTSP/1.0", b"GET /livez RTSP/1.1", b"SOURCE /livez ICE/1.0",
        b"GET /livez HTTP/2.0", b"GET /livez HTTP/1.2", b"GET /livez http/1.1", b"GET /livez", b"",
        b"GET /HTTP/1.1 RTSP/1.0",
    ],
)  # fmt: skip
def test_another_protocol_than_http_1_is_refused_by_its_name(line: bytes) -> None:
    refusal = fault(line, [HOST])
    assert refusal is not None and refusal.status == 400


@pytest.mark.parametrize("line", [b"GET /RTSP/1.0 HTTP/1.1", b"GET / HTTP/1.0", LINE])
def test_http_1_is_served(line: bytes) -> None:
    assert fault(line, [HOST]) is None


def test_a_host_may_be_left_out_in_http_1_0_alone_and_never_come_twice() -> None:
    assert fault(b"GET /readyz HTTP/1.0", []) is None
    for line, headers in ((b"GET /readyz HTTP/1.1", []), (b"GET /readyz HTTP/1.0", [HOST, HOST])):
        refusal = fault(line, headers)
        assert refusal is not None and refusal.status == 400


@pytest.mark.parametrize("name", ONCE)
def test_of_two_headers_that_may_come_once_neither_is_taken(name: bytes) -> None:
    for values in ((b"1", b"1"), (b"1", b"2")):
        refusal = fault(LINE, [HOST, *((name, value) for value in values)])
        assert refusal is not None and refusal.status == 400
        assert name in refusal.message.lower().encode()
    assert fault(LINE, [HOST, (name, b"1"), (b"accept", b"a"), (b"accept", b"b")]) is None


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        ([b"gzip, chunked"], 501), ([b"gzip,chunked"], 501), ([b"gzip", b"chunked"], 501), ([b"chunked;q=1"], 400),
        ([b"identity, chunked"], 501), ([b"chunked, chunked"], 501), ([b"chunked", b"chunked"], 501),
        ([b"gzip"], 400), ([b"chunked, gzip"], 400), ([b""], 400), ([b"xchunked"], 400),
    ],
)  # fmt: skip
def test_a_body_that_is_coded_otherwise_than_chunked_is_refused(codings: list[bytes], status: int) -> None:
    refusal = fault(LINE, [HOST, *((b"transfer-encoding", coding) for coding in codings)])
    assert refusal is not None and refusal.status == status


def test_chunked_is_taken_in_any_case_and_not_in_http_1_0() -> None:
    for coding in (b"chunked", b"Chunked", b" CHUNKED\t"):
        assert fault(LINE, [HOST, (b"transfer-encoding", coding)]) is None
        refusal = fault(b"POST / HTTP/1.0", [HOST, (b"transfer-encoding", coding)])
        assert refusal is not None and refusal.status == 400


@pytest.mark.parametrize(
    ("target", "authority", "rest"),
    [
        (b"/health?a=http://b", None, b"/health?a=http://b"), (b"*", None, b"*"), (b"//evil/x", None, b"//evil/x"),
        (b"http://evil.test/health", b"evil.test", b"/health"), (b"HTTP://a:81/x?y", b"a:81", b"/x?y"),
        (b"https://a/x", b"a", b"/x"),
        (b"http://a", b"a", b"/"), (b"http://a?y=/z", b"a", b"/?y=/z"), (b"http://[::1]:8088/", b"[::1]:8088", b"/"),
    ],
)  # fmt: skip
def test_a_target_in_absolute_form_names_the_host(target: bytes, authority: bytes | None, rest: bytes) -> None:
    assert origin_form(target) == (authority, rest)


@pytest.mark.parametrize(
    "target",
    [
        b"wss://a/x", b"ftp://a/x", b"http:/a", b"http:///x", b"http://", b"http://user@a/x", b"http://a\\@b/x",
        b"a:443", b"a", b"",
    ],
)  # fmt: skip
def test_a_target_of_another_scheme_or_form_is_refused(target: bytes) -> None:
    with pytest.raises(ValueError, match="request target"):
        origin_form(target)
