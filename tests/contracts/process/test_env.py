from pathlib import Path

import pytest
from msgspec import Struct

from contracts.process import env
from contracts.process.env import BadSetting
from contracts.process.misspelt import misspelt
from contracts.process.settings import (
    Address,
    Host,
    MonitorUrl,
    NatsCreds,
    NatsUrl,
    Network,
    Port,
    PublicUrl,
    Replicas,
    StoreUrl,
    Wait,
)


class Settings(Struct, frozen=True):
    """Settings with the fields under test."""

    must: str
    port: Port = 8088
    share: float = 0.5
    on: bool = False
    networks: tuple[Network, ...] = ()
    folder: Path = Path("here")
    wait: Wait = 5
    ports: tuple[Port, ...] = ()
    host: Host = "::"
    listen: Address = "127.0.0.1:4222"
    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None
    monitors: tuple[MonitorUrl, ...] = ()
    store: StoreUrl = "videos/"
    public_url: PublicUrl = None
    replicas: Replicas = 1
    kind: str = "warm"

    def contradictions(self) -> list[str]:
        return ["KIND cold wants SHARE 0"] if self.kind == "cold" and self.share else []


def refusal(**variables: str) -> str:
    with pytest.raises(BadSetting) as refused:
        env.read(Settings, {"MUST": "x", **variables})
    return str(refused.value)


def test_a_setting_is_read_from_the_variable_of_its_name() -> None:
    variables = {"MUST": "x", "PORT": "99", "ON": "1", "NETWORKS": "10.0.0.0/8, ::1/128", "SHARE": "", "FOLDER": "/x"}
    read = env.read(Settings, variables)
    assert read == Settings("x", 99, 0.5, True, ("10.0.0.0/8", "::1/128"), Path("/x"))


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("PORT", "many", "PORT was many; it may be a whole number from 1 to 65535"),
        ("PORT", "70000", "PORT was 70000; it may be a whole number from 1 to 65535"),
        ("PORT", "0", "PORT was 0; it may be a whole number from 1 to 65535"),
        ("ON", "yes", "ON was yes; it may be 0, 1, true or false"),
        ("SHARE", "nan", "SHARE was nan; it may be a number"),
        ("SHARE", "-inf", "SHARE was -inf; it may be a number"),
        ("WAIT", "0", "WAIT was 0; it may be a number above 0 and up to 86400"),
        ("WAIT", "1e99", "WAIT was 1e99; it may be a number above 0 and up to 86400"),
        ("REPLICAS", "2", "REPLICAS was 2; it may be 1, 3 or 5"),
        ("NETWORKS", "10.0.0.0/8,lan", "NETWORKS was lan; it may be a list, parted by commas, each of it a network"),
        ("NETWORKS", "10.0.0.1/8", "NETWORKS was 10.0.0.1/8; "),
        ("PORTS", "81,99999", "PORTS was 99999; it may be a list, parted by commas, each of it a whole number"),
        ("PORTS", ",", "PORTS was ,; "),
        ("HOST", "a b", 'HOST was "a b"; it may be an IP address or a host name'),
        ("HOST", "1.2.3", "HOST was 1.2.3; "),
        ("LISTEN", "::1:4222", "LISTEN was ::1:4222; it may be HOST:PORT"),
        ("LISTEN", "127.0.0.1:70000", "LISTEN was 127.0.0.1:70000; "),
        ("NATS_URL", "http://here:4222", "NATS_URL was http://here:4222; it may be one address of a broker"),
        ("NATS_URL", "nats://here:4222,foo://x", "NATS_URL was nats://here:4222,foo://x; "),
        ("NATS_URL", "nats://here:99999", "NATS_URL was nats://here:99999; "),
        ("NATS_CREDS", "/nope.creds", "NATS_CREDS was /nope.creds; it may be a file that can be read"),
        ("NATS_CREDS", "/nope.nk", "NATS_CREDS was /nope.nk; "),
        ("MONITORS", "127.0.0.1:8222", "MONITORS was 127.0.0.1:8222; "),
        ("PUBLIC_URL", "video.example.org", "PUBLIC_URL was video.example.org; it may be an address of up to 200 char"),
        ("PUBLIC_URL", "ftp://a.org", "PUBLIC_URL was ftp://a.org; "),
        ("PUBLIC_URL", "https://", "PUBLIC_URL was https://; "),
        ("PUBLIC_URL", "https://user@a.org", "PUBLIC_URL was "),
        ("PUBLIC_URL", "https://a.org/?x=1", 'PUBLIC_URL was "https://a.org/?x=1"; '),
        ("PUBLIC_URL", f"https://{'a.' * 100}org", "PUBLIC_URL was https://a.a."),
        ("PUBLIC_URL", "http://xn--a.de", "PUBLIC_URL was http://xn--a.de; "),
        ("PUBLIC_URL", "http://xn--.de", "PUBLIC_URL was http://xn--.de; "),
        ("PUBLIC_URL", "http://xn--a-ecp.ru", "PUBLIC_URL was http://xn--a-ecp.ru; "),
        ("STORE", "gs://b/x", "STORE was gs://b/x; it may be a folder's path or s3://BUCKET/PREFIX"),
        ("STORE", "s3://", "STORE was s3://; "),
        ("KIND", "cold", "KIND cold wants SHARE 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_may_be(variable: str, text: str, said: str) -> None:
    assert refusal(**{variable: text}).startswith(said)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(BadSetting, match=r"^MUST must be set; it may be text$"):
        env.read(Settings, {})


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert refusal(PORT="x", ON="maybe").count("; it may be") == 2


@pytest.mark.parametrize("listen", ["[::1]:4222", "0.0.0.0:1", "node-7.local:65535"])
def test_an_address_may_be_a_name_or_of_either_family(listen: str) -> None:
    assert env.read(Settings, {"MUST": "x", "LISTEN": listen}).listen == listen


@pytest.mark.parametrize(
    "url", ["https://a.org", "http://XN--E1AFMKFD.xn--p1ai:8080/videos/", "http://[::1]/", "https://xn--i-7iq.ws"]
)
def test_a_public_url_may_have_a_port_a_path_and_letters_of_any_language(url: str) -> None:
    assert env.read(Settings, {"MUST": "x", "PUBLIC_URL": url}).public_url == url


def test_a_password_in_an_address_is_not_shown() -> None:
    assert "hunter2" not in refusal(NATS_URL="ftp://me:hunter2@here:4222")


def test_what_an_error_shows_is_one_short_line() -> None:
    said = refusal(PORT="a\n\u2028b" + "x" * 500)
    assert "\n" not in said and "\u2028" not in said and len(said) < 250


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MAX_CONCURENT_TASKS", "MAX_CONCURRENT_TASKS"),
        ("MAX_CONCURRENT_TASK", "MAX_CONCURRENT_TASKS"),
        ("max_concurrent_tasks", "MAX_CONCURRENT_TASKS"),
        ("SERVER_PROT", "SERVER_PORT"),
        ("NATS_ULR", "NATS_URL"),
        ("TASKS_TIMEOUT", "TASK_TIMEOUT"),
        ("PLANS", "PLAN"),
    ],
)
def test_a_variable_one_or_two_letters_off_a_setting_is_told_with_the_setting(variable: str, meant: str) -> None:
    assert misspelt({variable: "7"}) == {variable: meant}


@pytest.mark.parametrize(
    "variable",
    ["PATH", "LANG", "MASTER_PORT", "MASTER_ADDR", "LOCAL_WORLD_SIZE", "ROLE_RANK", "GROUP_RANK", "NATS_STORE", "PLAN",
     "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE", "OMP_NUM_THREADS", "SHELL", "TMPDIR", "SERVER_NAME", "NATS_SERVER_BIN"],
)  # fmt: skip
def test_no_other_variable_is_taken_for_a_misspelt_one(variable: str) -> None:
    assert misspelt({variable: "7"}) == {}
