"""Runs provisioning against a broker that it cannot use."""

from contracts.process.start import EX_CONFIG
from tests.kit.process import completed

ENDS_WITHIN_S = 30


def refusal(**variables: str) -> str:
    """Return the sentence that provisioning ends with, after the log and without a traceback."""
    ended = completed("-m", "ops.provision", within_s=ENDS_WITHIN_S, **variables)
    assert ended.returncode == EX_CONFIG, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert len(ended.stdout.splitlines()) < 10
    assert "u:p@" not in ended.stdout + ended.stderr
    return ended.stderr.splitlines()[-1]
