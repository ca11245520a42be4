"""Open the store that a setting names: a folder by its path, or a bucket by its `s3://` URL. For `configured`."""

from pathlib import Path

from contracts.stores.folder import Folder
from contracts.stores.store import Store


def open_store(url: str, *, setting: str = "", folders: tuple[str, ...] = ("",)) -> Store:
    """Return the store of a folder's path or of `s3://bucket/prefix`. Raises `ValueError` for any other URL.

    `setting` is the variable that names the store, for its errors. `folders` are the folders in the store that will be
    written to, and are checked by `trouble`; the empty name is the store itself. Nothing is read or made yet. Raises
    `ModuleNotFoundError` for a bucket if the extra `s3` is not installed.
    """
    if url.startswith("s3://"):
        from contracts.stores.s3 import Bucket  # noqa: PLC0415  # obstore is an extra, installed for S3 alone

        return Bucket(url, setting=setting, folders=folders)
    if "://" in url:
        raise ValueError(f"a store is a folder or s3://…, was {url!r}")
    return Folder(Path(url).resolve(), setting=setting, folders=folders)
