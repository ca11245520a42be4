"""Make, list and revoke API keys, and set the limits of tenants: `python -m ops.key` (`just key`).

    create NAME --tenant TENANT [--scopes submit,read] [--expires-days 365]
    list
    revoke ID
    limits TENANT [--jobs N] [--a-minute M]

The text of a key is printed once, alone on standard output. The broker keeps its hash. Edges with `AUTH=keys` learn of
every change within seconds.
"""

import argparse
import asyncio
import sys
import time
from typing import Any

import msgspec

from contracts import subjects
from contracts.api_key import AMinute, JobsMax, KeyId, KeyName, Scope
from contracts.broker import Bus, Refused
from contracts.process import env, start
from contracts.tenant import TenantName
from contracts.words import may_be
from ops.broker import Settings, answering
from ops.key_entries import LIMITS_HEAD, NO_LIMIT, STREAM, create, limit, limit_text, listed, revoke, table
from ops.printing import reader_may_leave

DAY_S = 24 * 3600
EXPIRES_DAYS, EXPIRES_DAYS_MAX = 365, 3650
KNOWN_SOON = "edges with AUTH=keys know it within 5 s"


def _of(kind: Any) -> Any:
    """Return a converter from text to a bounded type for `argparse`, whose error says what is allowed."""

    def converted(text: str) -> Any:
        try:
            return msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError as error:
            raise argparse.ArgumentTypeError(f"it may be {may_be(kind)}") from error

    return converted


def _limit_of(kind: Any) -> Any:
    """Return a converter as `_of` does, which also takes `NO_LIMIT`, for None."""

    def converted(text: str) -> Any:
        return None if text == NO_LIMIT else _of(kind)(text)

    return converted


def _scopes(text: str) -> tuple[Scope, ...]:
    """Return the scopes in a list parted by commas."""
    try:
        return msgspec.convert(tuple(dict.fromkeys(part.strip() for part in text.split(","))), tuple[Scope, ...])
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"a list, parted by commas, each of it {may_be(Scope)}") from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="just key", description="API keys and tenants of edges with AUTH=keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("create", help="make a key, and print it once")
    made.add_argument("name", type=_of(KeyName), help="what the key is for, for lists")
    made.add_argument("--tenant", type=_of(TenantName), required=True, help="whose jobs the key submits and sees")
    made.add_argument("--scopes", type=_scopes, default=("submit", "read"), help="of submit, read and admin")
    days = f"days until the key expires, {EXPIRES_DAYS_MAX} at most; 0 for never"
    made.add_argument("--expires-days", type=int, choices=range(EXPIRES_DAYS_MAX + 1), metavar="N", help=days)
    commands.add_parser("list", help="show all keys, without their secrets, and all limits")
    gone = commands.add_parser("revoke", help="refuse a key from now on, for good")
    gone.add_argument("id", type=_of(KeyId), help="the id, as the list shows it")
    limits = commands.add_parser("limits", help="show or change the limits of a tenant")
    limits.add_argument("tenant", type=_of(TenantName))
    limits.add_argument("--jobs", type=_limit_of(JobsMax), default=..., help="unfinished jobs over all edges, or none")
    limits.add_argument("--a-minute", type=_limit_of(AMinute), default=..., help="submissions a minute and edge")
    return parser


async def run(broker: Bus, asked: argparse.Namespace) -> list[str]:
    """Do what was asked for, and return the lines to print; what is beside a new key goes to standard error."""
    match asked.command:
        case "create":
            days = EXPIRES_DAYS if asked.expires_days is None else asked.expires_days
            expires_at = time.time() + days * DAY_S if days else None
            text = await create(broker, asked.name, asked.tenant, asked.scopes, expires_at)
            print(f"this is shown once; {KNOWN_SOON}", file=sys.stderr)
            return [text]
        case "revoke":
            revoked = await revoke(broker, asked.id)
            return [f"revoked {revoked.id} ({revoked.name}, of {revoked.tenant}); {KNOWN_SOON}"]
        case "limits":
            named = {"jobs_max": asked.jobs, "submissions_a_minute": asked.a_minute}
            of = await limit(broker, asked.tenant, {name: value for name, value in named.items() if value is not ...})
            return table([LIMITS_HEAD, (of.tenant, limit_text(of.jobs_max), limit_text(of.submissions_a_minute))])
        case _:
            entries = await broker.read(STREAM, subjects.bucket_key(subjects.KEYS_BUCKET, ">"))
            return listed(entries, time.time())


async def main() -> None:
    """Run the command. Ends the process with a sentence if the broker is away, refuses, or is not provisioned."""
    asked = parser().parse_args()
    start.configure_log("key")
    async with answering(env.read(Settings), name="key", user="provision") as broker:
        try:
            await broker.stream(STREAM)
            lines = await run(broker, asked)
        except Refused as refusal:
            raise SystemExit(f"the broker does not take it: {refusal}") from None
    with reader_may_leave():
        print("\n".join(lines))


if __name__ == "__main__":
    with start.refusing("key"):
        asyncio.run(main())
