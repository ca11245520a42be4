"""A file system without hard links, as exFAT and many network mounts are: below one folder `link()` fails."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int refused(const char *path) {
    const char *below = getenv("NO_LINKS_BELOW");
    return below && strncmp(path, below, strlen(below)) == 0;
}

int link(const char *from, const char *to) {
    if (refused(to)) { errno = EPERM; return -1; }
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link"))(from, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    if (refused(to)) { errno = EPERM; return -1; }
    return ((int (*)(int, const char *, int, const char *, int))dlsym(RTLD_NEXT, "linkat"))(
        from_fd, from, to_fd, to, flags);
}
"""


def compiled(folder: Path) -> Path | None:
    """Make a library for `LD_PRELOAD`, where `NO_LINKS_BELOW` names the folder; None without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    (folder / "no_links.c").write_text(SOURCE)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "no_links.so", folder / "no_links.c", "-ldl"], check=True
    )
    return folder / "no_links.so"


@pytest.fixture(scope="session")
def no_links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library; the test is skipped without a C compiler."""
    library = compiled(tmp_path_factory.mktemp("no-links"))
    if library is None:
        pytest.skip("NOT RUN: a store without hard links is made with a C compiler, and there is none")
    return library


def below(folder: Path, library: Path) -> dict[str, str]:
    """What a process needs in its environment so that there are no links below this folder."""
    return {"LD_PRELOAD": str(library), "NO_LINKS_BELOW": str(folder)}
