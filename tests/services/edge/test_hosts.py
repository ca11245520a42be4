import pytest

from services.edge.hosts import is_served


@pytest.mark.parametrize("header", ["a.org", "A.ORG", "a.org:8088", "a.org.", "a.org.:80"])
def test_port_case_and_a_trailing_dot_do_not_matter(header: str) -> None:
    assert is_served(header, ("A.org",))


@pytest.mark.parametrize("header", ["", "b.org", "a.org.evil.com", "xa.org", "a.org@b.org"])
def test_other_hosts_are_not_served(header: str) -> None:
    assert not is_served(header, ("a.org",))


def test_a_star_stands_for_all_and_a_star_label_for_subdomains_alone() -> None:
    assert is_served("anything", ("*",))
    assert is_served("x.y.a.org", ("*.a.org",))
    assert not is_served("a.org", ("*.a.org",))
    assert not is_served(".a.org", ("*.a.org",))


def test_an_address_literal_is_a_host_too() -> None:
    assert is_served("[::1]:8088", ("[::1]",))
    assert not is_served("[::1]:8088", ("[::2]",))
