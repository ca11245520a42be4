import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from services.edge.http.validity import DAY_S, LEFT_DAYS_MIN, Phase, Validity, validity_in
from tests.kit.certificates import made

YEARS = [(-70, -60), (-50, -1), (-1, 1), (-1, 23), (-1, 40), (30, 200)]
"""Of beginning and end, from now on: RFC 5280 has years of two digits before 2050, and of four from then on."""


@pytest.mark.parametrize(("begins", "ends"), YEARS)
@pytest.mark.parametrize("of_rsa", [False, True], ids=["elliptic", "rsa"])
def test_the_dates_are_those_that_another_library_reads(begins: int, ends: int, of_rsa: bool) -> None:
    pem = made(of_rsa=of_rsa, begins=dt.timedelta(days=365 * begins), ends=dt.timedelta(days=365 * ends)).cert
    oracle = x509.load_pem_x509_certificate(pem)
    dates = oracle.not_valid_before_utc.timestamp(), oracle.not_valid_after_utc.timestamp()
    assert validity_in(pem) == dates


def test_the_first_certificate_of_a_chain_counts_whatever_stands_around_it() -> None:
    first, second = made(), made(ends=dt.timedelta(days=1))
    chain = b"subject=CN = video.example.org\n" + first.key + first.cert + b"\nissuer=CN = ca\n" + second.cert
    assert validity_in(chain) == validity_in(first.cert) != validity_in(second.cert)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.2])
def test_a_certificate_that_is_cut_off_has_no_dates(share: float) -> None:
    pem = made().cert
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    cut = der[: int(len(der) * share)]
    with pytest.raises(ValueError, match=r"."):
        validity_in(pem[: len(pem) // 2])
    with pytest.raises(ValueError, match=r"."):
        validity_in(b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % base64.encodebytes(cut))


@pytest.mark.parametrize(
    ("now", "phase"),
    [
        (999.0, Phase.EARLY),
        (1000.0, Phase.GOOD),
        (100 * DAY_S - LEFT_DAYS_MIN * DAY_S, Phase.GOOD),
        (100 * DAY_S - LEFT_DAYS_MIN * DAY_S + 1, Phase.SOON),
        (100 * DAY_S, Phase.SOON),
        (100 * DAY_S + 1, Phase.OVER),
    ],
)
def test_a_certificate_ends_soon_with_fewer_days_left_than_the_limit(now: float, phase: Phase) -> None:
    assert Validity(1000.0, 100 * DAY_S).phase(now) is phase
