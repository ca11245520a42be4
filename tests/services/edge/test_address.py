"""Faults of form are named, in words of form, and tell nothing of a network."""

import pytest

from services.edge.address import MUST_BEGIN, BadForm, parts_of

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
        (" https://example.com/cat.jpg", "begins with a blank"),
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
        ("https://example.com/a cat.jpg", "character 22 is a blank; in a URL that is written %20"),
        ("https://example.com/cat.jpg\n", "is a line break; in a URL that is written %0A"),
        ("https://example.com\\cat.jpg", "is a backslash"),
        ("https://example.com/\x00", "is a control character"),
        ("https://me:word@example.com/cat.jpg", "a user name or a password"),
        ("https://me@example.com/cat.jpg", "a user name or a password"),
        ("https://example.com:99999/cat.jpg", "its port is not written as in a URL"),
        ("https://example.com:web/cat.jpg", "its port is not written as in a URL"),
        ("https://example.com:0/cat.jpg", "1 to 65535"),
        ("https:///cat.jpg", "it names no host"),
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
