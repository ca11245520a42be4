"""Faults in the form of a URL are named, and the sentence tells nothing of a network."""

import pytest

from contracts.outbound.address import MUST_BEGIN, BadForm, joined, parts_of

RAW = "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAb0lEQVR4nO3PAQkAAAyEwO9feoshgnABdLep8QUNyPEFDcjxBQ3I8QUNyPEFDcjx"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        (RAW, "is base64 without that beginning"),
        ("/9j/4AAQSkZJRg", "is base64 without that beginning"),
        ("cat.jpg", "and was cat.jpg"),
        ("./pictures/cat.jpg", "and was ./pictures/cat.jpg"),
        ("/home/me/cat.jpg", "and was /home/me/cat.jpg"),
        ("C:\\cat.jpg", "begins with C:"),
        ("www.example.com/cat.jpg", "and was www.example.com/cat.jpg"),
        ("example.com:8080/cat.jpg", "and was example.com"),
        ("//example.com/cat.jpg", "and was //example.com"),
        ("http:/example.com/cat.jpg", "begins with http:"),
        ("file:///etc/passwd", "begins with file:"),
        ("s3://bucket/cat.jpg", "begins with s3:"),
        ("gs://bucket/cat.jpg", "begins with gs:"),
        ("ftp://example.com/cat.jpg", "begins with ftp:"),
        ("blob:https://example.com/9f", "begins with blob:"),
        ("javascript:alert(1)", "begins with javascript:"),
        ('"https://example.com/cat.jpg"', 'begins with "'),
        ("'https://example.com/cat.jpg'", "begins with '"),
        ("<https://example.com/cat.jpg>", "begins with <"),
        ("\u00a0https://example.com/cat.jpg", "begins with a blank"),
        ("\ufeffhttps://example.com/cat.jpg", "begins with a character that cannot be seen"),
        (" \n\t", "it is empty"),
        (" ./cat.jpg", "and was ./cat.jpg"),
        ("undefined", "and was undefined"),
        ("猫" * 5000, "and was 猫"),
    ],
)
def test_what_begins_with_nothing_that_is_fetched_hears_what_it_must_begin_with(url: str, words: str) -> None:
    with pytest.raises(BadForm) as fault:
        parts_of(url)
    assert MUST_BEGIN in str(fault.value)
    assert words in str(fault.value)
    assert len(str(fault.value)) < 200


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.com\\cat.jpg", "is a backslash"),
        ("https://example.com/\x00.jpg", "character 21 is a control character; in a URL that is written %00"),
        ("https://example.com/cat.jpg\r\nX-Evil: 1", "is a line break with a second line behind it"),
        ("https://example.com/cat.jpg HTTP/1.1\r\nHost:evil", "is a line break with a second line behind it"),
        ("https://example.com/\n\nGET /evil", "is a line break with a second line behind it"),
        ("https://example.com/very/long/\n    cat.jpg", "character 31 is a line break with a second line behind it"),
        ("https://me:word@example.com/cat.jpg", "a user name or a password"),
        ("https://me@example.com/cat.jpg", "a user name or a password"),
        ("https://example.com:99999/cat.jpg", "its port is not written as in a URL"),
        ("https://example.com:web/cat.jpg", "its port is not written as in a URL"),
        ("https://example.com:0/cat.jpg", "1 to 65535"),
        ("https://example.com:８０/cat.jpg", "its port is not written as in a URL"),
        ("https://example.com:-1/cat.jpg", "its port is not written as in a URL"),
        ("https://example.com:" + "9" * 5000, "its port is not written as in a URL"),
        ("https:///cat.jpg", "it names no host"),
        ("https://:80/cat.jpg", "it names no host"),
        ("https://[::1/cat.jpg", "its host or its port"),
        ("https://example.com/" + "a" * 9000, "it has 9020 characters; an address may have 8192"),
    ],
)
def test_a_fault_further_on_is_named_too(url: str, words: str) -> None:
    with pytest.raises(BadForm, match=words.replace("(", r"\(")):
        parts_of(url)


@pytest.mark.parametrize(
    "url", ["https://example.com/cat.jpg", "HTTP://example.com", "http://10.0.0.1:22/", "http://minio/a?b=%20#c"]
)
def test_what_is_well_formed_passes_wherever_it_points(url: str) -> None:
    assert parts_of(url).hostname


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (" https://example.com/cat.jpg", "https://example.com/cat.jpg"),
        ("\nhttps://example.com/cat.jpg", "https://example.com/cat.jpg"),
        ("https://example.com/cat.jpg\n", "https://example.com/cat.jpg"),
        ("\x00\x1f https://example.com/cat.jpg \x00\r\n", "https://example.com/cat.jpg"),
        ("ht\ttp://example.com/cat.jpg", "http://example.com/cat.jpg"),
        ("https:/\n/exam\r\nple.com/c\tat.jpg", "https://example.com/cat.jpg"),
        ("https://example.com/very/long/\ncat.jpg?a=1\n&b=2", "https://example.com/very/long/cat.jpg?a=1&b=2"),
        ("https:/\n/example.com/my cat.jpg", "https://example.com/my%20cat.jpg"),
        ("https://example.com/a/\nmy cat.jpg?to=ht\ntp://b", "https://example.com/a/my%20cat.jpg?to=http://b"),
        ("https://exam\nple.com:8080/", "https://example.com:8080/"),
        ("HTTPS://EXAMPLE.com:0443/Cat.JPG", "https://example.com/Cat.JPG"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com:/?a", "http://example.com/?a"),
        ("http://example.com:8080#part", "http://example.com:8080/"),
        ("http://example.com?a/b@c", "http://example.com/?a/b@c"),
    ],
)
def test_blanks_around_a_url_and_line_breaks_within_it_do_not_count(url: str, sent: str) -> None:
    assert parts_of(url).url == sent


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/my cat.png", "/my%20cat.png"),
        ("/a cat.png?name=a b#c d", "/a%20cat.png?name=a%20b"),
        ("/猫.png?q=é", "/%E7%8C%AB.png?q=%C3%A9"),
        ("/é.png?sig=a%2Bb%41%zz&x=%e9", "/%C3%A9.png?sig=a%2Bb%41%zz&x=%e9"),
        ("/a%20b.png?X-Amz-Credential=A%2F2&d=a+b", "/a%20b.png?X-Amz-Credential=A%2F2&d=a+b"),
        ('/a"b<c>`{d}^|[e].png', "/a%22b%3Cc%3E%60%7Bd%7D%5E|[e].png"),
        ("/?a=\"b\"<'c'>`{d}^|", "/?a=%22b%22%3C%27c%27%3E`{d}^|"),
        ("/a/./b/../c.png", "/a/c.png"),
        ("/../../%2e%2E/c.png", "/c.png"),
        ("/a/b/..", "/a/"),
        ("/a//b/.../c.png?d=/../e", "/a//b/.../c.png?d=/../e"),
    ],
)
def test_a_path_and_a_query_are_encoded_as_the_url_standard_does_and_escapes_stay(target: str, sent: str) -> None:
    assert parts_of("https://example.com" + target).url == "https://example.com" + sent
    assert parts_of("https://example.com" + sent).url == "https://example.com" + sent


@pytest.mark.parametrize(
    ("relative", "sent"),
    [
        ("cat.png", "https://example.com/a/cat.png"),
        ("../cat.png", "https://example.com/cat.png"),
        (" /my cat.png ", "https://example.com/my%20cat.png"),
        ("w=9/https://b.example/cat.png", "https://example.com/a/w=9/https://b.example/cat.png"),
        ("b//c;", "https://example.com/a/b//c;"),
        ("?d=e f", "https://example.com/a/b?d=e%20f"),
        ("#f", "https://example.com/a/b?c=d"),
        ("", "https://example.com/a/b?c=d"),
        ("//b.example", "https://b.example/"),
        ("http://b.example", "http://b.example/"),
        ("HTTPS:cat.png", "https://example.com/a/cat.png"),
        ("./https:cat.png", "https://example.com/a/https:cat.png"),
    ],
)
def test_a_relative_url_is_joined_as_the_url_standard_does(relative: str, sent: str) -> None:
    assert parts_of(joined(parts_of("https://example.com/a/b?c=d"), relative)).url == sent


@pytest.mark.parametrize("relative", ["//", "///b", "https:/b", "http:b", "ftp://b/c", "data:,", "//a..b/c", "\\\\b"])
def test_what_a_relative_url_may_not_be_is_refused_when_it_is_joined(relative: str) -> None:
    with pytest.raises(BadForm):
        parts_of(joined(parts_of("https://example.com/a/b?c=d"), relative))
