"""Which `Host` headers are served. Pure."""


def is_served(header: str, allowed: tuple[str, ...]) -> bool:
    """Whether a `Host` header names an allowed host; port, case and a trailing dot do not matter.

    `*` allows all; `*.example.com` its subdomains, not example.com itself.
    """
    host = _without_port(header).lower().rstrip(".")
    return any(_matches(host, pattern.lower()) for pattern in allowed)


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern in ("*", host)
