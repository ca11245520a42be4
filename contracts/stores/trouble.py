"""The reason why a store cannot be written to, in words for a log, for a client and for a start that cannot succeed.

`folder` and `s3` make a `Trouble`; `configured.check` refuses a start by it, and the edge shows it as health.
"""

import errno

from msgspec import Struct

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = (*_FULL, errno.EROFS)
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)

LASTING = (
    *_NO_LINKS,
    errno.EACCES,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
)
"""Errors that stay until somebody changes the setting or the folder's permissions. A disk that is full, read-only or
unreachable may come right by itself."""


class Trouble(Struct, frozen=True):
    """Why a store cannot be written to now.

    `setting` is the variable that names the store, `path` the folder or bucket, `name` the error's short name such as
    `EPERM`, and `error` its text, which may hold paths. `lasting` says that no waiting helps.
    """

    setting: str
    path: str
    name: str
    what: str
    error: str
    lasting: bool = False

    @property
    def plain(self) -> str:
        """Return a sentence without paths, for clients."""
        return f"{self.setting or 'a store'} {self.what} ({self.name})"

    def __str__(self) -> str:
        return f"{self.setting or 'a store'}: {self.path} {self.what}: {self.error}"

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields of a log line about this trouble."""
        return {"store": self.setting, "path": self.path, "what": self.what, "error": self.error}


def of_folder(setting: str, path: str, error: OSError) -> Trouble:
    """Return the trouble that an error means which the file system gave while a file was published."""
    number = error.errno or 0
    name = errno.errorcode.get(number, type(error).__name__)
    return Trouble(setting, path, name, _what(error), f"{name}, {error}", lasting=number in LASTING)


def too_small(setting: str, path: str, free_bytes: int, room_bytes: int) -> Trouble:
    """Return the trouble of a folder that takes files and has less room than is wanted; not a lasting one."""
    error = f"{free_bytes} bytes are free, {room_bytes} are wanted"
    return Trouble(setting, path, errno.errorcode[errno.ENOSPC], "is full", error)


def _what(error: OSError) -> str:
    """Return what an error says of a store, in words that follow its name."""
    number = error.errno
    if number in _FULL:
        return "is full"
    if number == errno.EROFS:
        return "is read-only"
    if number in _NO_DESCRIPTORS:
        return "cannot be checked: this process is out of file descriptors"
    linking = error.filename2 is not None  # of the calls that publish a file only link has two names
    if linking and number in _NO_LINKS:
        return "takes no hard links, or may not be written to"
    return "cannot be written to"


def described(error: BaseException) -> str:
    """Return an error's type and text, for a log: unlike its `repr`, the text of an `OSError` names the files."""
    return f"{type(error).__name__}: {error}"


def no_room(error: OSError) -> bool:
    """Return whether an error means a store that is full or read-only, which may pass."""
    return error.errno in _NO_ROOM
