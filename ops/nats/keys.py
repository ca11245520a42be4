"""Make the nkeys of all users of the broker, and its configuration with their public halves: `just keys FOLDER`.

`ops.local` calls `make` at every start, and tests for their brokers. No key is ever overwritten. `broker/users.conf` is
written anew each time: it follows from the keys and the table of rights.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import nkeys  # pyright: ignore[reportMissingTypeStubs]

from contracts.process import credentials
from contracts.process.broker_settings import seed_file
from ops.nats.permissions import Permissions, permissions_of
from ops.nats.rights import SYSTEM, USERS

SEED_BYTES = 32
OWNER_ONLY, OWNER_ONLY_FOLDER = 0o600, 0o700
CONFIGURATIONS = ("nats-server.conf", "cluster.conf")
INCLUDED = "users.conf"
SYSTEM_ACCOUNT = "SYSTEM"

HEAD = (
    "# Made by `just keys` from ops/nats/rights.py and the keys beside this folder; written anew by each `just keys`.\n"
)


def make(folder: Path, *, passwords: Mapping[str, str] | None = None, renew: bool = False) -> Path:
    """Make what is missing of a folder of keys, and return its subfolder `broker`, which holds no secret.

    Each user has a file `<user>.nk` that only its owner may read. `broker` has the configurations of nats-server, which
    are written over only with `renew`, and `users.conf`, which they include. `passwords` are further users who may do
    anything, for tests. Raises `OSError`, and `NoCredentials` if a file of a seed holds none.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
    public = {user: _public_key(seed_file(folder, user)) for user in USERS}
    broker = folder / "broker"
    broker.mkdir(exist_ok=True)
    _write(broker / INCLUDED, users_conf(public, passwords or {}))
    for name in CONFIGURATIONS:
        if renew or not (broker / name).exists():
            shutil.copyfile(Path(__file__).with_name(name), broker / name)
    return broker


def users_conf(public: Mapping[str, str], passwords: Mapping[str, str]) -> str:
    """Return the part of the configuration with every user and its rights. `public` are the public keys, by user."""
    ours = [_user(user, key) for user, key in public.items() if user != SYSTEM]
    trusted = [f"    {{ user: {user}, password: {password} }}\n" for user, password in passwords.items()]
    return (
        f"{HEAD}authorization {{\n  users: [\n{''.join([*ours, *trusted])}  ]\n}}\n"
        f"accounts {{\n  {SYSTEM_ACCOUNT} {{ users: [\n{_user(SYSTEM, public[SYSTEM])}  ] }}\n}}\n"
        f"system_account: {SYSTEM_ACCOUNT}\n"
    )


def _user(user: str, key: str) -> str:
    """Return a user with its public key and its permissions, as nats-server reads them."""
    rights = permissions_of(user)
    return f"    # {user}\n    {{ nkey: {key}, permissions: {{\n{_publish(rights)}{_subscribe(rights)}    }} }}\n"


def _publish(rights: Permissions) -> str:
    lists = {"allow": rights.publish, "deny": rights.denied}
    return f"      publish: {{ {', '.join(f'{name}: {_list(some)}' for name, some in lists.items() if some)} }}\n"


def _subscribe(rights: Permissions) -> str:
    return f"      subscribe: {{ allow: {_list(rights.subscribe)} }}\n"


def _list(patterns: Iterable[str]) -> str:
    """Return a list of strings, one a line; in quotes, so that nats-server takes no `$` for a variable."""
    return "[\n" + "".join(f"        {json.dumps(pattern)}\n" for pattern in patterns) + "      ]"


def _public_key(file: Path) -> str:
    """Return the public key of the seed in a file, which is made if it is not there. Raises as `make` does."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "wb") as made:
            made.write(nkeys.encode_seed(os.urandom(SEED_BYTES), nkeys.PREFIX_BYTE_USER))
    pair = nkeys.from_seed(bytearray(credentials.read(str(file)).seed))
    return cast("bytes", pair.public_key).decode()


def _write(file: Path, text: str) -> None:
    """Write a file in one step, so that a broker that starts meanwhile reads the old or the new one whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(file)


def main(arguments: list[str]) -> None:
    """Make the keys in the folder that the command line names, and print what is there."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(
            "usage: just keys FOLDER, which gets a key for each user of the broker, and the broker's configuration"
        )
    folder = Path(arguments[0])
    there = {user for user in USERS if seed_file(folder, user).exists()}
    try:
        broker = make(folder)
    except (OSError, credentials.NoCredentials) as error:
        sys.exit(f"no keys can be made in {folder}: {error}")
    for user, who in USERS.items():
        print(f"{'kept' if user in there else 'made'}  {seed_file(folder, user)}  {who}")
    print(f"the broker's configuration, without secrets, is in {broker}")


if __name__ == "__main__":
    main(sys.argv[1:])
