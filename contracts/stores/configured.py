"""The two stores of WanJet, opened from their settings, and the check of both that a process makes before it starts.

Every process opens its stores here: videos and records under `VIDEO_STORE_URL`, inputs and checkpoints under
`SCRATCH_STORE_URL`.
"""

import asyncio
from collections.abc import Iterator
from threading import Thread

from contracts.job import CHECKPOINTS, INPUTS
from contracts.process import log
from contracts.process.env import BadSetting
from contracts.record import WITHOUT_VIDEO
from contracts.stores.open import open_store
from contracts.stores.store import Store
from contracts.stores.trouble import Trouble

VIDEO_SETTING, SCRATCH_SETTING = "VIDEO_STORE_URL", "SCRATCH_STORE_URL"
CHECK_WITHIN_S = 10.0


def video_store(url: str) -> Store:
    """Return the store of videos and of the records of jobs. Raises `BadSetting`."""
    return _store(url, VIDEO_SETTING, ("", WITHOUT_VIDEO))


def scratch_store(url: str) -> Store:
    """Return the store of inputs and checkpoints. Raises `BadSetting`."""
    return _store(url, SCRATCH_SETTING, (INPUTS, CHECKPOINTS))


def _store(url: str, setting: str, folders: tuple[str, ...]) -> Store:
    try:
        return open_store(url, setting=setting, folders=folders)
    except ValueError as error:
        raise BadSetting(f"{setting}: {error}") from error


def check(video_store_url: str, scratch_store_url: str) -> None:
    """Try both stores before the process begins. A store logs its trouble itself.

    Raises `BadSetting`, which ends the process, for trouble that waiting does not cure: the path cannot be made or
    written to, or takes no hard links. A store that is full, read-only or away may come right, and stops no start.
    """
    for trouble in troubles(video_store_url, scratch_store_url):
        if trouble.lasting:
            raise BadSetting(str(trouble))


def troubles(video_store_url: str, scratch_store_url: str) -> Iterator[Trouble]:
    """Try the two stores in turn, and yield the trouble of each that has one now. Raises `BadSetting`."""
    for store in (video_store(video_store_url), scratch_store(scratch_store_url)):
        if trouble := _ask(store):
            yield trouble


def _ask(store: Store) -> Trouble | None:
    """Return a store's trouble; None for none, and for a store that does not answer within `CHECK_WITHIN_S`.

    Asks in a daemon thread: a network file system that hangs cannot be interrupted.
    """
    found: list[Trouble | None] = []
    asking = Thread(target=lambda: found.append(asyncio.run(store.trouble())), daemon=True)
    asking.start()
    asking.join(CHECK_WITHIN_S)
    if not found:
        log.get().warning("store_unanswered", within_s=CHECK_WITHIN_S)
        return None
    return found[0]
