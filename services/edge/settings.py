"""The settings of an edge, read from its environment by `__main__`."""

from typing import Annotated, Literal

from msgspec import Meta

from contracts.api_key import AMinute
from contracts.outbound.about import Contact
from contracts.process.broker_settings import BrokerSettings
from contracts.process.settings import Host, Network, PemFile, Port, PortOrOff, Seconds, StoreUrl
from contracts.tenant import JOBS_MAX_LIMIT
from services.edge.body.bodies import BODIES_BYTES_LIMIT, BODIES_BYTES_MAX, BODIES_BYTES_MIN
from services.edge.http.hosts import HostPattern
from services.edge.http.origins import AllowedOrigin

KEEP_ALIVE_S_MIN, KEEP_ALIVE_S_MAX = 1, 86_400
KEEP_ALIVE_S = 620
"""How long a connection without a request stays open. Longer than balancers keep theirs (nginx and AWS 60 s, Azure 240,
Google 600): otherwise a balancer may send a request into a connection that is being closed. Idle connections make way
for new ones (`crowd`)."""


class Settings(BrokerSettings, frozen=True):
    """Settings of an edge."""

    server_host: Host = "0.0.0.0"  # noqa: S104  # the documented default: it serves other machines
    server_port: Port = 8088
    metrics_host: Host = "0.0.0.0"  # noqa: S104  # likewise
    metrics_port: PortOrOff = 0
    task_retention: Seconds = 1800
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"
    outbound_allowed_networks: tuple[Network, ...] = ()
    outbound_allowed_ports: tuple[Port, ...] = ()
    outbound_contact: Contact | None = None
    allowed_hosts: tuple[HostPattern, ...] = ("*",)
    allowed_origins: tuple[AllowedOrigin, ...] = ()
    auth: Literal["off", "keys"] = "off"
    tenant_submissions_a_minute: AMinute = 0
    address_submissions_a_minute: AMinute = 0
    trusted_proxies: tuple[Network, ...] = ()
    keep_alive: Annotated[float, Meta(ge=KEEP_ALIVE_S_MIN, le=KEEP_ALIVE_S_MAX)] = KEEP_ALIVE_S
    show_all_jobs: bool = False
    tls_cert: PemFile = None
    tls_key: PemFile = None
    tenant_jobs_max: Annotated[int, Meta(ge=0, le=JOBS_MAX_LIMIT)] = 0
    bodies_bytes_max: Annotated[int, Meta(ge=BODIES_BYTES_MIN, le=BODIES_BYTES_LIMIT)] = BODIES_BYTES_MAX

    def contradictions(self) -> list[str]:
        """Return a sentence if one of certificate and key is set without the other."""
        given = {"TLS_CERT": self.tls_cert, "TLS_KEY": self.tls_key}
        return [
            f"{variable} must be set too, or neither of TLS_CERT and TLS_KEY"
            for variable, path in given.items()
            if path is None and any(given.values())
        ]
