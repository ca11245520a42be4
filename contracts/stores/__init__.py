"""Stores of files: one protocol, `Store`, kept by a folder and by an S3 bucket; `open_store` makes either.

Processes open theirs by `configured`. The modules, from the top: `configured`, `open`, `folder` and `s3`, the protocol
`store`, and what can be wrong with a store, `trouble`.
"""

from contracts.stores.folder import Folder
from contracts.stores.open import open_store
from contracts.stores.store import File, Store, overwrite
from contracts.stores.trouble import Trouble, described, no_room

__all__ = ["File", "Folder", "Store", "Trouble", "described", "no_room", "open_store", "overwrite"]
