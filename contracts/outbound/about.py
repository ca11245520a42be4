"""The `User-Agent` of requests to others: the program's name and version, and a contact for their operators."""

import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta

from contracts.words import form

NAME, PACKAGE = "WanJet", "wanjet"
CONTACT_CHARS_MAX = 200
PROJECT_FILE = Path(__file__).parents[2] / "pyproject.toml"

Contact = Annotated[
    str,
    Meta(
        pattern=rf"^[!-'*-\[\]-~][ -'*-\[\]-~]{{2,{CONTACT_CHARS_MAX - 1}}}\Z",
        extra=form(f"a URL or an e-mail address of 3 to {CONTACT_CHARS_MAX} printable characters without parentheses"),
    ),
]
"""A URL or an e-mail address in printable ASCII. Without parentheses, because `User-Agent` puts it between some."""


class Project(NamedTuple):
    """The version of this program and the URL of its project; the URL is empty if it is unknown."""

    version: str
    address: str


def project(file: Path = PROJECT_FILE, package: str = PACKAGE) -> Project:
    """Return version and URL from `pyproject.toml`, if that file exists, and otherwise from the installed package.

    Without either, the version is "0".
    """
    if file.is_file():
        stated = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return Project(stated["version"], stated.get("urls", {}).get("Homepage", ""))
    try:
        installed = metadata(package)
    except PackageNotFoundError:
        return Project("0", "")
    urls = dict(line.split(", ", 1) for line in installed.get_all("Project-URL") or [])
    return Project(installed["Version"], urls.get("Homepage", ""))


def user_agent(contact: str | None = None) -> str:
    """Return the `User-Agent`, with the project's address unless an operator gives a contact."""
    version, address = project()
    reachable = contact or address
    return f"{NAME}/{version} (+{reachable})" if reachable else f"{NAME}/{version}"
