"""Lock what is shipped: `python -m ops.lock` (`just lock`) writes exact versions and hashes into ops/locks/, by uv.

A pin stays as long as pyproject.toml and constraints.txt allow it; `--upgrade` takes the newest. `--check` writes
nothing, and fails if a lock is not what would be written.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
LOCKS = REPOSITORY / "ops" / "locks"
SHIPPED = {
    "services": ("heif", "local", "otel", "s3"),
    "inference": ("inference", "otel", "s3"),
    "npu": ("inference", "npu", "otel", "s3"),
}
"""The extras of each kind of machine, beside what the package itself needs: one for edges, states and webhooks, with
the broker's binary, and one for clusters on NVIDIA and one for those on Ascend cards."""
UPGRADE, CHECK = "--upgrade", "--check"
INDEX = "https://pypi.org/simple"
"""The index that the hashes are of, whatever this machine's settings are. No lock names it."""


def lock_of(name: str) -> Path:
    """Return the lock of a kind of machine, one of `SHIPPED`."""
    return LOCKS / f"{name}.txt"


def compile_lock(name: str, into: Path, *options: str) -> None:
    """Write the lock of a kind of machine into a file; what is in the file already is preferred.

    Raises `subprocess.CalledProcessError` if no versions go together, or the index cannot be reached.
    """
    extras = [word for extra in SHIPPED[name] for word in ("--extra", extra)]
    uv = Path(sys.executable).parent / "uv"
    command = [uv, "pip", "compile", "pyproject.toml", *extras, "--constraint", "constraints.txt", *options]
    form = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--quiet"]
    subprocess.run(
        [*command, *form, "--default-index", INDEX, "--output-file", str(into)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def changed(name: str) -> bool:
    """Return whether the lock of a kind of machine is another one than would be written now."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / f"{name}.txt"
        shutil.copy(lock_of(name), fresh)
        compile_lock(name, fresh)
        return fresh.read_bytes() != lock_of(name).read_bytes()


def main(arguments: list[str]) -> None:
    """Write or check all locks. Ends the process with a sentence if an argument is unknown or a check fails."""
    if arguments not in ([], [UPGRADE], [CHECK]):
        raise SystemExit(f"what may be given is {UPGRADE} or {CHECK}")
    if arguments == [CHECK]:
        if old := [name for name in SHIPPED if changed(name)]:
            raise SystemExit(f"not locked as pyproject.toml has it: {', '.join(old)}; `just lock` writes it anew")
        return
    for name in SHIPPED:
        compile_lock(name, lock_of(name), *arguments)
        print(lock_of(name).relative_to(REPOSITORY))


if __name__ == "__main__":
    main(sys.argv[1:])
