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
from contracts.stores.trouble import Trouble, described

VIDEO_SETTING, SCRATCH_SETTING = "VIDEO_STORE_URL", "SCRATCH_STORE_URL"
CHECK_WITHIN_S = 10.0


def video_store(url: str) -> Store:
    """Return the store of videos and of the records of jobs. Raises `BadSetting` if no store can have this URL."""
    return _store(url, VIDEO_SETTING, ("", WITHOUT_VIDEO))


def scratch_store(url: str) -> Store:
    """Return the store of inputs and checkpoints. Raises `BadSetting` if no store can have this URL."""
    return _store(url, SCRATCH_SETTING, (INPUTS, CHECKPOINTS))


def _store(url: str, setting: str, folders: tuple[str, ...]) -> Store:
    """Open a store as `open_store` does, and raise `BadSetting` instead of `ValueError`."""
    try:
        return open_store(url, setting=setting, folders=folders)
    except ValueError as error:
        raise BadSetting(f"{setting}: {error}") from error


def check(video_store_url: str, scratch_store_url: str) -> None:
    """Publish and remove a probe in both stores before the process begins; every trouble is logged.

    Raises `BadSetting`, which ends the process, for trouble that waiting does not cure: the path cannot be made or
    written to, or takes no hard links. A store that is full, read-only or away may come right, and stops no start.
    Blocks for at most `CHECK_WITHIN_S` a store.
    """
    for trouble in troubles(video_store_url, scratch_store_url):
        if trouble.lasting:
            raise BadSetting(str(trouble))


def troubles(video_store_url: str, scratch_store_url: str) -> Iterator[Trouble]:
    """Try the two stores in turn, and yield the trouble of each that has one now, lasting or not.

    Raises `BadSetting` if no store can have one of the URLs.
    """
    videos, scratch = video_store(video_store_url), scratch_store(scratch_store_url)
    for store, setting, url in (
        (videos, VIDEO_SETTING, video_store_url),
        (scratch, SCRATCH_SETTING, scratch_store_url),
    ):
        if trouble := _trouble_in_time(store, setting, url):
            yield trouble


def _trouble_in_time(store: Store, setting: str, url: str) -> Trouble | None:
    """Return a store's trouble; None for none, and, with a warning, if there is no answer within `CHECK_WITHIN_S`.

    An error of the check itself is logged and returned as a trouble that may pass. Asks in a daemon thread, which goes
    on after an answer that is late: a network file system that hangs cannot be interrupted.
    """
    found: list[Trouble | None] = []

    def ask() -> None:
        try:
            found.append(asyncio.run(store.trouble()))
        except BaseException as error:  # noqa: BLE001  # obstore's panics are no `Exception`
            trouble = Trouble(setting, url, type(error).__name__, "cannot be checked", described(error))
            log.get().error("store_unusable", **trouble.fields)
            found.append(trouble)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CHECK_WITHIN_S)
    if not found:
        log.get().warning("store_unanswered", within_s=CHECK_WITHIN_S)
        return None
    return found[0]
