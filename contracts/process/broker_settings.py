"""The settings by which a process finds the broker and shows who it is; the settings of such processes extend them."""

import ssl
from pathlib import Path
from typing import TypedDict

from msgspec import Struct

from contracts.process import credentials
from contracts.process.env import BadSetting, shown
from contracts.process.settings import NatsCreds, NatsKeys, NatsUrl, PemFile


class Shown(TypedDict):
    """The credentials and the certificates that `bus.connect` takes, by its arguments' names."""

    creds: str | None
    tls: ssl.SSLContext | None


class BrokerSettings(Struct, frozen=True):
    """The broker's URL; a file of credentials, or a folder in which every process finds the seed of its own user.

    For `tls://`: the authority that has signed the broker's certificate, and a certificate of one's own with its key.
    """

    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None
    nats_keys: NatsKeys = None
    nats_ca: PemFile = None
    nats_cert: PemFile = None
    nats_cert_key: PemFile = None

    def contradictions(self) -> list[str]:
        """Return a sentence if a certificate has no key, or a key no certificate, else none."""
        if (self.nats_cert is None) == (self.nats_cert_key is None):
            return []
        return ["NATS_CERT and NATS_CERT_KEY go together: a certificate and its key"]

    def tls(self) -> ssl.SSLContext | None:
        """Return whom to trust and which certificate to show the broker; None for what the system has, and none.

        Raises `BadSetting` if the files hold no such things.
        """
        if self.nats_ca is None and self.nats_cert is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.nats_ca)
            if self.nats_cert is not None:
                context.load_cert_chain(self.nats_cert, self.nats_cert_key)
        except (OSError, ssl.SSLError) as error:
            raise BadSetting(f"NATS_CA, NATS_CERT or NATS_CERT_KEY holds none: {type(error).__name__}") from error
        return context

    def shown(self, user: str) -> Shown:
        """Return what a process that is this user of the broker shows it. Raises `BadSetting`."""
        return Shown(creds=self.creds(user), tls=self.tls())

    def creds(self, user: str) -> str | None:
        """Return the path of the credentials of a process that is this user of the broker; None for a process without.

        That is `NATS_CREDS` where it is set, else the user's seed in `NATS_KEYS`. Raises `BadSetting` if that folder
        has no readable seed of the user.
        """
        if self.nats_creds is not None or self.nats_keys is None:
            return self.nats_creds
        seed = seed_file(self.nats_keys, user)
        if (fault := credentials.fault(str(seed))) is not None:
            raise BadSetting(f"NATS_KEYS was {shown(self.nats_keys)}; its {seed.name} is no seed: {fault}")
        return str(seed)


def seed_file(folder: str | Path, user: str) -> Path:
    """Return the path of a user's seed in a folder of keys."""
    return Path(folder) / f"{user}.nk"
