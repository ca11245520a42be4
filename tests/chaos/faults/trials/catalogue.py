"""Every fault at every phase of a job's life, as a sequence of trials; and the few that the test suite runs.

A trial is one fault and one phase; it fails by `AssertionError`.
"""

import itertools
import signal
from collections.abc import Iterator

from contracts import subjects
from tests.chaos.faults.service import DELETION_PHASES, KILLABLE, PHASES, ROLES
from tests.chaos.faults.surroundings import surroundings
from tests.chaos.faults.trial import Trial
from tests.chaos.faults.trials.clocks import HOUR_S, clock, rolling_restart, start_order, two_of_one_name
from tests.chaos.faults.trials.halfway import half_deleted, upload_cut
from tests.chaos.faults.trials.network import network, reset_storm
from tests.chaos.faults.trials.processes import broker_away, kill, sleep, terminate
from tests.chaos.faults.trials.storage import (
    broker_store_full,
    damaged_video,
    flip,
    flipped_checkpoint,
    shorten,
    store_full,
)
from tests.chaos.faults.trials.streams import deleted, events_again, flipped_block
from tests.kit.proxy import Mode

AWAY_S = (0.0, 5.0, 60.0)
DAY_S = 24 * HOUR_S
MODES: tuple[Mode, ...] = ("drop", "half", "delay")
SLEEPERS = ("cluster", "rank 1", "broker", "state", "edge")


def all_trials() -> Iterator[Trial]:
    yield from (kill(name, phase) for name in KILLABLE for phase in PHASES)
    yield upload_cut()
    yield from (
        half_deleted(name, phase, ended=ended)
        for name in ("edge", "state", "broker", "rank 0")
        for phase in DELETION_PHASES
        for ended in (True, False)
    )
    yield from (terminate(name, phase) for name in ("edge", "state", "launcher", "broker") for phase in PHASES)
    yield from (sleep(name, phase) for name in SLEEPERS for phase in ("waiting", "denoising", "no ending"))
    yield from (
        broker_away(seconds, phase) for seconds in AWAY_S for phase in ("not answered", "denoising", "no ending")
    )
    for role, phase in (
        ("edge", "request read"),
        ("state", "not folded"),
        ("cluster", "denoising"),
        ("cluster", "no ending"),
    ):
        yield from (network(role, mode, phase) for mode in MODES)
        yield reset_storm(role, phase)
    yield from (broker_store_full(phase) for phase in ("not answered", "denoising", "no ending"))
    for number in (signal.SIGKILL, signal.SIGTERM):
        yield from (
            flipped_block(subjects.JOBS_STREAM, "jobs.*.*", phase, number=number) for phase in ("waiting", "denoising")
        )
        yield flipped_block(subjects.EVENTS_STREAM, "events.*.step", "denoising", number=number)
        yield flipped_block(subjects.EVENTS_STREAM, "events.*.started", "denoising", number=number, kills="cluster")
        yield flipped_block(subjects.EVENTS_STREAM, "events.*.finished.*", "not folded", number=number)
    yield store_full("size=8k", "video store full")
    yield store_full("nr_inodes=3", "video store without inodes")
    yield store_full("ro", "video store read-only")
    yield from (flipped_checkpoint(part) for part in ("conditions", "state"))
    yield damaged_video(shorten, "cut off")
    yield damaged_video(flip, "flipped")
    yield from (deleted(what, phase) for what in ("bucket", "consumer") for phase in ("waiting", "denoising"))
    yield events_again()
    yield two_of_one_name()
    steps = ((HOUR_S, "waiting"), (-HOUR_S, "denoising"), (DAY_S, "denoising"), (-DAY_S, "waiting"))
    yield from (clock(role, offset, phase) for role in ROLES for offset, phase in steps)
    yield from (start_order(order) for order in itertools.permutations(("broker", *ROLES)))
    yield rolling_restart()
    yield from surroundings()


def few_trials() -> Iterator[Trial]:
    """Some minutes of them: what no other test of the suite does."""
    yield kill("edge", "not answered")
    yield upload_cut()
    yield from (half_deleted("edge", phase, ended=phase == "files not removed") for phase in DELETION_PHASES)
    yield kill("state", "not folded")
    yield kill("broker", "no ending")
    yield kill("rank 0", "decoding")
    yield kill("rank 0", "no pictures")
    yield kill("rank 0", "previewing")
    yield network("cluster", "drop", "denoising")
    yield flipped_checkpoint("state")
    yield damaged_video(flip, "flipped")
    yield events_again()
    yield clock("cluster", DAY_S, "denoising")
    yield from surroundings()
