"""Lists the packages that `just gpu` needs beside torch, or installs them: `python -m ops.bench.gpu.packages …`.

For a machine whose torch came with it, perhaps without a network. `list [FREEZE]` prints, as pip's requirements, what
is installed here and missing there; FREEZE is `pip list --format=freeze` of that machine. `install` gives a `.venv`
made with --system-site-packages what it lacks, from the folder `wheels` if there is one. Neither ever touches torch.
"""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from tempfile import NamedTemporaryFile

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

OURS = "wanjet"
EXTRAS = ("inference", "local")
TORCH = ("torch", "torch-npu")
WHEELS = Path("wheels")
"""Where wheels are carried."""


def needed() -> dict[str, list[Requirement]]:
    """Return the packages that are needed beside torch and what only torch needs, by name, each with who asks for what.

    Found from what is installed here. Raises `PackageNotFoundError` if a package is not.
    """
    found: dict[str, list[Requirement]] = {}
    left = [(OURS, extra) for extra in ("", *EXTRAS)]
    seen = set(left)
    while left:
        name, extra = left.pop()
        for asked in _requirements(name, extra):
            package = canonicalize_name(asked.name)
            if package in TORCH:
                continue
            found.setdefault(package, []).append(asked)
            more = [(package, each) for each in ("", *asked.extras) if (package, each) not in seen]
            seen.update(more)
            left += more
    return found


def missing(there: dict[str, str]) -> list[str]:
    """Return, as `name==version` of what is installed here, the packages that are not there in a version that suits."""
    return sorted(
        f"{name}=={version(name)}"
        for name, asked in needed().items()
        if name not in there or not all(each.specifier.contains(there[name], prereleases=True) for each in asked)
    )


def frozen(lines: list[str]) -> dict[str, str]:
    """Return the versions in the output of `pip list --format=freeze`, by name."""
    pairs = (line.strip().partition("==") for line in lines)
    return {canonicalize_name(name): installed for name, equal, installed in pairs if equal}


def install() -> int:
    """Have pip install this repository and what it lacks, with torch held at the version that is there.

    Returns pip's exit code. Raises `PackageNotFoundError` if there is no torch to hold.
    """
    with NamedTemporaryFile("w", suffix=".txt") as held:
        held.write(f"torch=={version('torch')}\n")
        held.flush()
        offline = ["--no-index", "--find-links", str(WHEELS)] if WHEELS.is_dir() else []
        command = ["install", "--quiet", *offline, "-c", held.name, "-e", f".[{','.join(EXTRAS)}]"]
        return subprocess.run([sys.executable, "-m", "pip", *command], check=False).returncode


def _requirements(name: str, extra: str) -> Iterator[Requirement]:
    """Yield what an installed package asks for on this machine, beside what it asks for without the extra."""
    for line in distribution(name).requires or []:
        asked = _parsed(line)
        plain = asked.marker is None or asked.marker.evaluate({"extra": ""})
        if plain if extra == "" else not plain and asked.marker is not None and asked.marker.evaluate({"extra": extra}):
            yield asked


@cache
def _parsed(line: str) -> Requirement:
    """Return a requirement; the same ones are met again and again, and some versions of pip take long to read them."""
    return Requirement(line)


def main(arguments: list[str]) -> int:
    """Print the list, or install; return the exit code."""
    match arguments:
        case ["list", *freeze]:
            lines = [line for file in freeze for line in Path(file).read_text().splitlines()]
            print("\n".join(missing(frozen(lines))))
            return 0
        case ["install"]:
            try:
                complete = all(_suits(name, asked) for name, asked in needed().items())
            except PackageNotFoundError:
                complete = False
            return 0 if complete else install()
        case _:
            sys.exit("usage: python -m ops.bench.gpu.packages list [FREEZE] | install")


def _suits(name: str, asked: list[Requirement]) -> bool:
    """Return whether the package is installed here in a version that all who ask for it can use."""
    return all(each.specifier.contains(version(name), prereleases=True) for each in asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
