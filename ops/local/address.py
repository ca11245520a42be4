"""The addresses of a stack's servers, `host:port`, of IPv4 and IPv6. `stack` and `preflight` use this module."""

ANY_V4, ANY_V6 = "0.0.0.0", "::"  # noqa: S104  # compared, not bound


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`; the brackets of an IPv6 host are taken off.

    Raises `ValueError` without a port.
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def join(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """Return the host part of a URL for a client on this machine, if the server listens on `host`.

    IPv6 has brackets, and an address that stands for every interface becomes the loopback address.
    """
    local = {ANY_V4: "127.0.0.1", ANY_V6: "::1"}.get(host, host)
    return f"[{local}]" if ":" in local else local
