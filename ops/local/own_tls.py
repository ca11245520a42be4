"""Speak to this machine's own edge over TLS, where `TLS_CERT` is set: `stack` names its URL, `http` asks it."""

import os
import ssl

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which `ssl` has no name."""


def scheme() -> str:
    """Return `https` if the edge serves TLS, else `http`."""
    return "https" if _certificate() else "http"


def context() -> ssl.SSLContext:
    """Return a client's context that trusts the edge's own certificate alone, whatever name and dates it has.

    The edge is asked by its address, which a public certificate does not have. Raises `OSError` if there is no such
    certificate.
    """
    trusting = ssl.create_default_context(cafile=_certificate())
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its issuer need not be known
    trusting.verify_flags |= NO_CHECK_TIME
    return trusting


def _certificate() -> str:
    """Return the path that `TLS_CERT` has; empty without one."""
    return os.environ.get("TLS_CERT", "").strip()
