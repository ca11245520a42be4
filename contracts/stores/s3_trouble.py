"""The reason why an object store fails, from obstore's error, in words that name the variable to set. For `s3`.

obstore's own texts hold addresses, and an answer of the store may hold a key: neither is passed on.
"""

import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from obstore.exceptions import BaseError

ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OTHER_SOURCES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
NO_CREDENTIALS = (
    f"there are no credentials ({' and '.join(KEYS)}), and no metadata service of this machine has given any"
)

_CREDENTIALS = "the credentials are refused (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)"
_REGION = "the bucket lies in another region (AWS_REGION)"
_CODES = {
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "AccessDenied": "these credentials may not write there",
    "NoSuchBucket": "there is no such bucket",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}
"""The reason by the code in the answer of an S3-compatible store."""
_SIGNS = (
    (r"Missing SecretAccessKey", "AWS_SECRET_ACCESS_KEY is missing beside AWS_ACCESS_KEY_ID"),
    (r"Missing AccessKeyId", "AWS_ACCESS_KEY_ID is missing beside AWS_SECRET_ACCESS_KEY"),
    (r"Failed to read token file", "the file of AWS_WEB_IDENTITY_TOKEN_FILE cannot be read"),
    (r"/latest/(api/token|meta-data)|\bhttp://169\.254\.170\.", NO_CREDENTIALS),
    (r"InvalidDnsNameError", "the store's host has no name that can be one (AWS_REGION, AWS_ENDPOINT_URL)"),
    (r"dns error", "the store's host is not found in DNS (AWS_ENDPOINT_URL, AWS_REGION)"),
    (r"ConnectionRefused", "nobody listens at the store's address (AWS_ENDPOINT_URL)"),
    (r"NetworkUnreachable|HostUnreachable", "the store's address cannot be reached (AWS_ENDPOINT_URL)"),
    (r"incorrectly configured region", _REGION),
    (r"InvalidContentType|InvalidCertificate|[Cc]ertificate|UnknownIssuer|TlsError",
     "no TLS connection to the store can be made (AWS_ENDPOINT_URL, its certificate)"),
    (r"ETag Header missing", "what answers is no object store (AWS_ENDPOINT_URL)"),
    (r"empty path segment", "the prefix has an empty part (//)"),
    (r"failed to parse .* as boolean", "a variable of AWS_… should be true or false"),
)  # fmt: skip
_CODE = re.compile(r"<Code>(\w{1,64})</Code>", re.ASCII)
_STATUS = re.compile(r"status code: ([1-5]\d\d)\b", re.ASCII)


@contextmanager
def as_os_error(setting: str) -> Generator[None, None, None]:
    """Raise obstore's errors inside the block as `OSError` or `FileNotFoundError`, which is for no such object.

    The text has the name of the store's setting, if not empty, and the `reason`.
    """
    name = f"{setting}, object store" if setting else "object store"
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {reason(error)}") from error
    except BaseError as error:
        raise OSError(f"{name}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return in words why a request failed, as far as obstore's error tells; at least the name of the error's type."""
    text, name = str(error), type(error).__name__
    for sign, words in _SIGNS:
        if re.search(sign, text):
            return f"{words} ({name})"
    if (code := _CODE.search(text)) is not None:
        return f"{_CODES.get(code[1], 'the store refuses')} ({name}, {code[1]})"
    if (status := _STATUS.search(text)) is not None:
        return f"the store answered {status[1]} ({name})"
    return name


def silence(within_s: float, environ: Mapping[str, str] = os.environ) -> str:
    """Return in words what no answer within so many seconds probably means.

    Without credentials obstore waits for a metadata service.
    """
    has_any = any(environ.get(variable) for variable in (*KEYS, *OTHER_SOURCES))
    return f"no answer within {within_s:g} s{'' if has_any else f'; {NO_CREDENTIALS}'}"


def check_endpoint(environ: Mapping[str, str] = os.environ) -> None:
    """Raise `ValueError` if a variable names an endpoint that is no address: obstore would panic on it."""
    for variable in ENDPOINTS:
        text = environ.get(variable, "")
        if text and not _is_address(text):
            raise ValueError(f"{variable} is no address of an object store; it may be such as https://s3.example.org")


def _is_address(text: str) -> bool:
    """Return whether a text is an http or https URL with a host, and no port of 0."""
    try:
        parts = urlsplit(text)
        usable = parts.port != 0
    except ValueError:
        return False
    return usable and parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable()
