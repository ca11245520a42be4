"""Hosts as the URL standard reads them: names in every script, IPv4 in odd spellings, and texts that are no host."""

import pytest

from contracts.outbound.address import BadForm, parts_of


def host_in(host: str) -> str:
    return parts_of(f"http://{host}/cat.png").hostname


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("例え.jp", "xn--r8jz45g.jp"),
        ("例え。ｊｐ", "xn--r8jz45g.jp"),
        ("faß.example", "xn--fa-hia.example"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("مثال.إختبار", "xn--mgbh0fb.xn--kgbechtv"),
        ("i❤.ws", "xn--i-7iq.ws"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("exam\u00adple.com", "example.com"),
        ("ex%61mple.com", "example.com"),
        ("a_b.example", "a_b.example"),
        ("cat-.example", "cat-.example"),
        ("1minio", "1minio"),
        ("3f2a9c1b7d4e", "3f2a9c1b7d4e"),
        ("123.example", "123.example"),
        ("example.1a", "example.1a"),
        ("example.com.", "example.com."),
        ("localhost.", "localhost."),
        ("bücher.example.", "xn--bcher-kva.example."),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
        (".".join(["a"] * 127), ".".join(["a"] * 127)),
    ],
)
def test_a_name_in_any_script_is_the_name_that_the_dns_has(written: str, host: str) -> None:
    assert host_in(written) == host


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.0x0.0x0.0x1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0000000177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("1.0xffffff", "1.255.255.255"),
        ("4294967295", "255.255.255.255"),
        ("１２７。０。０。１", "127.0.0.1"),
        ("①②⑦.⓪.⓪.①", "127.0.0.1"),
        ("%31%32%37.0.0.1", "127.0.0.1"),
        ("0xA9FEA9FE", "169.254.169.254"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[2001:DB8::00A]", "2001:db8::a"),
    ],
)
def test_an_address_in_any_spelling_is_the_address_that_it_is(written: str, address: str) -> None:
    assert host_in(written) == address


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("a..b", "its host a..b has an empty part between its dots"),
        (".a.b", "empty part"),
        ("a.b..", "empty part"),
        (".", "empty part"),
        ("。a", "empty part"),
        ("\u00ad", "empty part"),
        ("256.1.1.1", "its host 256.1.1.1 ends in a number, and is no IPv4 address"),
        ("425.510.425.510", "no IPv4 address"),
        ("1.2.3.4.5", "no IPv4 address"),
        ("1.2.3.08", "no IPv4 address"),
        ("4294967296", "no IPv4 address"),
        ("0x100000000", "no IPv4 address"),
        ("1.2.0x10000", "no IPv4 address"),
        ("example.1", "no IPv4 address"),
        ("example.0x1f", "no IPv4 address"),
        ("9" * 250, "no IPv4 address"),
        ("a%20b", "its host a b holds a blank, which no host has"),
        ("a b", "holds a blank"),
        ("a%00b", "holds a control character"),
        ("a%2Fb", "holds /"),
        ("a%zz", "holds %"),
        ("％４１", "holds %"),
        ("a<b>", "holds <"),
        ("a：８０", "holds :"),
        ("me＠example.com", "holds @"),
        ("a!b.example", "holds !"),
        ("a" * 64 + ".test", "has a part of 64 characters between its dots; the DNS has up to 63"),
        ("猫" * 60 + ".test", "between its dots; the DNS has up to 63"),
        (".".join(["a"] * 128), "its host has 255 characters; the DNS has up to 253"),
        ("猫" * 5000, "its host has 5000 characters; the DNS has up to 253"),
        ("a\u2028b.example", "is not a name in IDNA"),
        ("\u0301a.example", "is not a name in IDNA"),
        ("\ufffd.example", "is not a name in IDNA"),
        ("a%ff.example", "is not a name in IDNA"),
        ("a\u200db.example", "is not a name in IDNA"),
        ("1א.example", "is not a name in IDNA"),
        ("xn--a.example", "is not a name in IDNA"),
        ("xn--ß.example", "is not a name in IDNA"),
        ("xn--bcher-kva猫.example", "is not a name in IDNA"),
        ("xn--.example", "is not a name in IDNA"),
        ("xn--bcher-.example", "is not a name in IDNA"),
        ("xn--99999999.example", "is not a name in IDNA"),
        ("[fe80::1%25lo]", "is no IPv6 address"),
        ("[::1", "its host or its port"),
        ("[::1]x", "its host or its port"),
        ("[1.2.3.4]", "is no IPv6 address"),
        ("[v1.x]", "is no IPv6 address"),
        ("[" + "1:" * 4000 + "]", "is no IPv6 address"),
    ],
)
def test_a_host_that_is_none_is_named_in_words_of_form(written: str, words: str) -> None:
    with pytest.raises(BadForm) as fault:
        host_in(written)
    assert words in str(fault.value)
    assert len(str(fault.value)) < 200
