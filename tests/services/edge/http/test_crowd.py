"""The connections that make way for new ones, without a server, by a clock that the tests set."""

import asyncio
from typing import cast

import pytest

from services.edge.http import uploads
from services.edge.http.crowd import CONNECTIONS_MAX, DEAF_S, FILES_KEPT, Crowd, Stage, connections_for, probes_beside
from services.edge.http.uploads import UPLOADS_MAX, Upload


class Hands:
    """A clock with its hands moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[tuple[float, uploads.asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: object) -> object:
        self.due.append((self.now + delay, cast("uploads.asyncio.TimerHandle", callback)))
        return callback

    def move(self, seconds: float) -> None:
        end = self.now + seconds
        while self.due and min(at for at, _ in self.due) <= end:
            at, callback = min(self.due, key=lambda one: one[0])
            self.due.remove((at, callback))
            self.now = at
            callback()  # pyright: ignore[reportCallIssue]
        self.now = end


class Someone:
    """A connection that keeps what becomes of it."""

    def __init__(self) -> None:
        self.dropped = self.ended = self.is_held_up = False

    def drop(self) -> None:
        self.dropped = True

    def end_upload(self) -> None:
        self.ended = True


@pytest.fixture
def hands() -> Hands:
    return Hands()


def crowd_of(hands: Hands, connections_max: int) -> Crowd:
    return Crowd(cast("asyncio.AbstractEventLoop", hands), connections_max)


def admitted(crowd: Crowd, stage: Stage, count: int = 1) -> list[Someone]:
    found = [Someone() for _ in range(count)]
    for one in found:
        crowd.admit(one)
        if not one.dropped:
            crowd.place(one, stage)
    return found


def test_those_make_way_first_whom_nobody_misses(hands: Hands) -> None:
    crowd = crowd_of(hands, 1)
    room = 1 + probes_beside(1)
    answering = admitted(crowd, Stage.ANSWER, room - 4)
    head, idle, lingering = (admitted(crowd, stage)[0] for stage in (Stage.HEAD, Stage.IDLE, Stage.LINGER))
    later = admitted(crowd, Stage.HEAD)[0]
    for victim in (lingering, idle, head, later):
        assert not victim.dropped
        newest = admitted(crowd, Stage.ANSWER)[0]
        assert victim.dropped and not newest.dropped
    turned_away = admitted(crowd, Stage.HEAD)[0]
    assert turned_away.dropped
    assert not any(one.dropped for one in answering)


def test_an_answer_that_nobody_reads_makes_way_after_a_while(hands: Hands) -> None:
    crowd = crowd_of(hands, 4)
    deaf = admitted(crowd, Stage.DEAF, 4)
    assert not crowd.has_room()
    hands.move(DEAF_S)
    assert crowd.has_room()
    assert [one.dropped for one in deaf] == [True, False, False, False]


def test_requests_leave_a_share_of_the_connections_to_probes(hands: Hands) -> None:
    crowd = crowd_of(hands, 8)
    admitted(crowd, Stage.ANSWER, 8)
    assert not crowd.has_room()
    probes = admitted(crowd, Stage.ANSWER, probes_beside(8))
    assert not any(probe.dropped for probe in probes)


def test_fewer_descriptors_mean_fewer_connections_and_some_are_left_for_the_rest() -> None:
    assert connections_for(10**9) == CONNECTIONS_MAX
    for files in (64, 128, 256, 512, 1024, 4096):
        connections = connections_for(files)
        assert connections > 0
        assert files - connections - probes_beside(connections) >= min(FILES_KEPT, files // 2)


def begin(crowd: Crowd, hands: Hands, received: int = 0) -> tuple[Someone, Upload, bool]:
    someone, upload = Someone(), Upload(hands.now, hands.now)
    upload.received = received
    if taken := crowd.uploads.make_room():
        crowd.uploads.begin(someone, upload)
    return someone, upload, taken


def test_beyond_the_limit_the_slowest_upload_makes_way_and_never_one_that_gets_on(hands: Hands) -> None:
    crowd = crowd_of(hands, CONNECTIONS_MAX)
    fast = [begin(crowd, hands) for _ in range(UPLOADS_MAX - 1)]
    slow, _, _ = begin(crowd, hands)
    hands.move(5)
    for _, upload, _ in fast:
        upload.received = 100_000
    young, _, taken = begin(crowd, hands)
    assert taken and slow.ended and not young.ended
    assert not any(someone.ended for someone, _, _ in fast)
    hands.move(0.1)
    for _, upload, _ in fast:
        upload.received = 102_000
    assert [begin(crowd, hands)[2] for _ in range(3)] == [False] * 3  # all get on: the new one is to come again
    assert not young.ended


def test_a_small_body_on_a_slow_link_and_a_large_one_at_a_modest_speed_come_to_their_end(hands: Hands) -> None:
    crowd = crowd_of(hands, CONNECTIONS_MAX)
    small, little, _ = begin(crowd, hands)
    for _ in range(30):
        hands.move(0.99)
        little.received += 20
    assert little.received == 600 and not small.ended
    crowd.uploads.end(small)
    large, much, _ = begin(crowd, hands)
    for _ in range(560):
        hands.move(1)
        much.received += 50_000
    assert much.received == 28_000_000 and not large.ended


def test_an_upload_that_trickles_is_ended_and_one_that_we_hold_up_is_not(hands: Hands) -> None:
    crowd = crowd_of(hands, CONNECTIONS_MAX)
    trickling, upload, _ = begin(crowd, hands)
    held, _, _ = begin(crowd, hands)
    held.is_held_up = True
    for _ in range(60):
        hands.move(1)
        upload.received += 100
    assert trickling.ended and not held.ended
    assert trickling not in crowd.uploads
