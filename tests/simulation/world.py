"""Every process of the service as a few lines, and a broker that loses answers, forgets, repeats and is restarted.

What the real processes decide by, they decide by here: `decide_next_move`, `history_of`, `fold`, and the broker's
own fences. Who acts next, and what goes wrong, `choose` says: so that a history is a list of numbers, and can be had
again.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from contracts.events import (
    Ending,
    Event,
    JobCancelled,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
    Logged,
    StageStarted,
    StepCompleted,
)
from contracts.fold import fold, fold_all
from contracts.job import Job
from contracts.status import JobStatus
from inference.leader.attempt_history import AttemptHistory
from inference.leader.attempt_history import history_of as history_in
from inference.leader.attempt_policy import Begin, Fail, JobFacts, decide_next_move

STEPS = 4
MAX_ATTEMPTS = 3
CALM_TURNS_MAX = 5000
LIMIT = 2
"""How many unfinished jobs the tenant of all jobs may have."""
JOB = Job(prompt="a boat at sea", num_frames=25, seed=1)

Choose = Callable[[int], int]
"""A number below the one that is given."""
Process = Generator[None, None, None]
"""It yields wherever the real one waits: there others may act, and it may be killed."""


class Refused(Exception):
    """The log has something else than was expected."""


class Lost(Exception):
    """No answer: it may be stored, or not."""


@dataclass
class Stored:
    sequence: int
    event: Event


@dataclass
class Message:
    """A job in the queue; `holder` is whose it is at the moment."""

    submitted: JobSubmitted
    holder: object = None
    deliveries: int = 0


@dataclass
class World:
    choose: Choose
    log: list[Stored] = field(default_factory=list[Stored])
    queue: dict[str, Message] = field(default_factory=dict[str, Message])
    inputs: set[str] = field(default_factory=set[str])
    checkpoints: dict[str, int] = field(default_factory=dict[str, int])
    videos: dict[str, int] = field(default_factory=dict[str, int])
    """The attempt that made it: the first whole file wins."""
    statuses: dict[str, JobStatus] = field(default_factory=dict[str, JobStatus])
    unfolded: list[Event] = field(default_factory=list[Event])
    accepted: set[str] = field(default_factory=set[str])
    confirmed_cancelled: set[str] = field(default_factory=set[str])
    tombstones: set[str] = field(default_factory=set[str])
    slots: dict[int, str] = field(default_factory=dict[int, str])
    """The job of each slot, by the sequence of its message."""
    jobless: set[int] = field(default_factory=set[int])
    """The slots without a job as of the last look."""
    sequence: int = 0
    calm: bool = False
    now: float = 0.0

    # -- the broker ------------------------------------------------------------------------------------------------

    def flaw(self, one_in: int) -> bool:
        return not self.calm and self.choose(one_in) == 0

    def publish(self, event: Event, expected: int | None = None) -> None:
        """Into the log, by a client that tries again until it knows. Raises `Refused`, also for its own lost answer."""
        if self.flaw(8):
            raise Lost
        repeated = False
        while True:
            if expected is not None and self.last(type_of(event), event.job_id) != expected:
                raise Refused
            if not (repeated and expected is None):
                self.store(event)
            if not self.flaw(6):
                return
            repeated = True

    def store(self, event: Event) -> None:
        self.sequence += 1
        self.log.append(Stored(self.sequence, event))
        self.unfolded.append(event)

    def take_slot(self, job_id: str, counted: int) -> int:
        """Store a slot if the last one is the last that was `counted`. Raises `Refused`."""
        if max(self.slots, default=0) != counted:
            raise Refused
        self.sequence += 1
        self.slots[self.sequence] = job_id
        return self.sequence

    def free_slot(self, job_id: str) -> None:
        self.slots = {sequence: of for sequence, of in self.slots.items() if of != job_id}

    def last(self, kind: type[Event] | tuple[type[Event], ...], job_id: str) -> int:
        return max((each.sequence for each in self.of(job_id) if isinstance(each.event, kind)), default=0)

    def of(self, job_id: str) -> list[Stored]:
        return [each for each in self.log if each.event.job_id == job_id]

    def ending(self, job_id: str) -> Ending | JobDeleted | None:
        """The last of its endings: there is one, or another and then its deletion."""
        endings = [each.event for each in self.of(job_id) if isinstance(each.event, Ending | JobDeleted)]
        return endings[-1] if endings else None

    def purge(self, job_id: str) -> None:
        """All that log and bucket have of a deleted job, but its deletion."""
        self.log = [each for each in self.log if each.event.job_id != job_id or isinstance(each.event, JobDeleted)]
        self.statuses.pop(job_id, None)

    def tick(self) -> float:
        self.now += 1.0
        return self.now


ENDINGS = (JobSucceeded, JobFailed, JobCancelled, JobDeleted)


def history_of(log: list[Stored]) -> AttemptHistory:
    return history_in(Logged(each.event, float(each.sequence)) for each in log)


def type_of(event: Event) -> type[Event] | tuple[type[Event], ...]:
    """What an expectation about this event counts."""
    return ENDINGS if isinstance(event, ENDINGS) else type(event)


# -- the processes -----------------------------------------------------------------------------------------------------


def submit(world: World, job_id: str) -> Process:
    """An edge with one submission."""
    world.inputs.add(job_id)
    while True:
        yield
        counted = dict(world.slots)
        if len(set(counted.values()) - {job_id}) >= LIMIT:
            return
        yield
        try:
            world.take_slot(job_id, max(counted, default=0))
        except Refused:
            continue
        if not world.flaw(8):  # else without an answer: another message of the same slot is stored
            break
    yield
    submitted = JobSubmitted(job_id=job_id, created_at=world.tick(), job=JOB)
    if world.flaw(10):  # it dies, and its slot stays
        return
    world.queue[job_id] = Message(submitted)
    if not world.flaw(10):  # else the copy is lost with the broker's crash, until state looks
        world.store(submitted)
    check_limit(world)
    yield
    world.accepted.add(job_id)


def check_limit(world: World) -> None:
    unfinished = [each for each in world.queue if world.ending(each) is None]
    assert len(unfinished) <= LIMIT, "more unfinished jobs than the tenant may have"


def cancel(world: World, job_id: str) -> Process:
    """An edge with one cancellation."""
    yield
    if job_id not in world.accepted:
        return
    cancelled = JobCancelled(job_id=job_id, at=world.tick())
    try:
        world.publish(cancelled, expected=0)
    except (Refused, Lost):
        if world.ending(job_id) != cancelled:
            return
    yield
    world.queue.pop(job_id, None)
    if not world.flaw(6):  # else it dies before
        world.free_slot(job_id)
    world.confirmed_cancelled.add(job_id)


def delete(world: World, job_id: str) -> Process:
    """An edge with one deletion, which may die between any two of its writes."""
    yield
    if job_id not in world.accepted:
        return
    world.tombstones.add(job_id)
    for write in (
        lambda: bury(world, job_id),
        lambda: world.queue.pop(job_id, None),
        lambda: world.free_slot(job_id),
        lambda: remove(world, job_id),
    ):
        yield
        if world.flaw(8):
            return
        write()


def bury(world: World, job_id: str) -> None:
    """Over whatever ending there is, again and again until it is known to be there."""
    while not isinstance(world.ending(job_id), JobDeleted):
        try:
            world.publish(JobDeleted(job_id=job_id, at=world.tick()), expected=world.last(ENDINGS, job_id))
        except (Refused, Lost):
            continue


def remove(world: World, job_id: str) -> None:
    """The files of a deleted job."""
    world.videos.pop(job_id, None)
    world.inputs.discard(job_id)
    world.checkpoints.pop(job_id, None)


def cluster(world: World, name: str) -> Process:
    """Rank 0, one job after the other."""
    me = object()
    while True:
        yield
        message = take(world, me)
        if message is None:
            continue
        try:
            yield from attempt(world, name, me, message)
        except Lost:  # not acknowledged: it comes again
            let_go(message, me)


def take(world: World, me: object) -> Message | None:
    """The first message that nobody holds; after an `ack_wait` also one that somebody holds."""
    for message in world.queue.values():
        if message.holder is None or world.flaw(12):
            message.holder = me
            message.deliveries += 1
            return message
    return None


def let_go(message: Message, me: object) -> None:
    if message.holder is me:
        message.holder = None


def attempt(world: World, name: str, me: object, message: Message) -> Process:
    job_id = message.submitted.job_id
    if world.ending(job_id) is not None:
        finish(world, job_id)
        return
    yield
    facts = JobFacts(
        history=history_of(world.of(job_id)),
        last_start_sequence=world.last(JobStarted, job_id),
        has_input=job_id in world.inputs,
        video_exists=job_id in world.videos,
        checkpoint_step=world.checkpoints.get(job_id, 0),
    )
    move = decide_next_move(facts, max_attempts=MAX_ATTEMPTS)
    yield
    if isinstance(move, Fail):
        yield from end(world, JobFailed(job_id=job_id, at=world.tick(), attempt=0, instance=name, reason=move.reason))
        return
    assert isinstance(move, Begin)  # no cluster here objects to a job
    started = JobStarted(
        job_id=job_id, at=world.tick(), attempt=move.attempt, instance=name, width=64, height=48, num_frames=25,
        resumed_from_step=facts.checkpoint_step, progress=facts.checkpoint_step / (2 * STEPS),
    )  # fmt: skip
    try:
        world.publish(started, expected=move.after)
    except Refused:
        if not any(each.event == started for each in world.of(job_id)):
            return
    if not facts.video_exists and (yield from run(world, started, message, me)):
        return
    yield from succeed(world, started)


def run(world: World, started: JobStarted, message: Message, me: object) -> Generator[None, None, bool]:
    """Step after step; True where the job was left."""
    job_id, number = started.job_id, started.attempt
    tell(
        world, StageStarted(job_id=job_id, at=world.tick(), attempt=number, stage="denoise", progress=started.progress)
    )
    for step in range(started.resumed_from_step + 1, STEPS + 1):
        yield
        if world.flaw(3) or world.calm:
            if world.ending(job_id) is not None:
                finish(world, job_id)
                return True
            if history_of(world.of(job_id)).latest > number:
                return True
        tell(world, StepCompleted(
            job_id=job_id, at=world.tick(), attempt=number, step=step, steps=STEPS, progress=step / (2 * STEPS)
        ))  # fmt: skip
        if world.flaw(2):
            yield
            world.checkpoints[job_id] = max(step, world.checkpoints.get(job_id, 0))
        if world.flaw(15):  # told to stop
            world.publish(JobReleased(job_id=job_id, at=world.tick(), attempt=number, instance=started.instance))
            let_go(message, me)
            return True
    return False


def tell(world: World, report: Event) -> None:
    """A report may be lost; an ending never is."""
    try:
        world.publish(report)
    except Lost:
        return


def succeed(world: World, started: JobStarted) -> Process:
    job_id = started.job_id
    yield
    if world.ending(job_id) is not None:
        finish(world, job_id)
        return
    world.videos.setdefault(job_id, started.attempt)
    yield
    yield from end(world, JobSucceeded(
        job_id=job_id, at=world.tick(), attempt=started.attempt, instance=started.instance, video_url="", video_path="",
        width=64, height=48, num_frames=25, duration=1.0, size_bytes=1, sha256="", seed=1,
    ))  # fmt: skip


def end(world: World, ending: Ending) -> Process:
    job_id = ending.job_id
    try:
        world.publish(ending, expected=0)
    except Refused:
        yield
    if not isinstance(world.ending(job_id), JobSucceeded):
        world.videos.pop(job_id, None)
    yield
    finish(world, job_id)


def finish(world: World, job_id: str) -> None:
    if not world.flaw(6):  # else it is not answered in time
        world.free_slot(job_id)
    world.queue.pop(job_id, None)
    world.inputs.discard(job_id)
    world.checkpoints.pop(job_id, None)


def state(world: World) -> Process:
    """Folds what it is given: late, twice, in any order."""
    while True:
        yield
        if world.unfolded:
            at = world.choose(len(world.unfolded)) if not world.calm else 0
            event = world.unfolded[at]
            if not world.flaw(5):
                del world.unfolded[at]
            if isinstance(event, JobDeleted) or isinstance(world.ending(event.job_id), JobDeleted):
                world.purge(event.job_id)
            else:
                world.statuses[event.job_id] = fold(world.statuses.get(event.job_id), event)


def reconcile(world: World) -> Process:
    """What state puts right at its start and now and then."""
    while True:
        yield
        for job_id in world.tombstones:
            if world.of(job_id) or job_id in world.queue or job_id in world.statuses:
                bury(world, job_id)
                world.purge(job_id)
            remove(world, job_id)
        for job_id, message in list(world.queue.items()):
            if world.ending(job_id) is not None:
                del world.queue[job_id]
            elif not world.last(JobSubmitted, job_id):
                world.store(message.submitted)
        if world.calm:  # the sweeper waits for an hour
            world.inputs &= world.queue.keys()
            world.checkpoints = {job_id: step for job_id, step in world.checkpoints.items() if job_id in world.queue}
        keep_slots(world)
        for job_id in list(world.videos):
            if isinstance(world.ending(job_id), JobFailed | JobCancelled):
                del world.videos[job_id]


def keep_slots(world: World) -> None:
    """Free the slots of jobs that have ended; those of no job at all once nobody can publish one any more."""
    jobless = {at for at, of in world.slots.items() if of not in world.queue and not world.of(of)}
    left = jobless & world.jobless if world.calm else set[int]()
    world.jobless = jobless
    world.slots = {at: of for at, of in world.slots.items() if at not in left and world.ending(of) is None}


# -- a history ---------------------------------------------------------------------------------------------------------


def history(choose: Choose, *, jobs: int = 3, clusters: int = 2, turns: int = 120) -> World:
    """So many turns in which anything may happen, and then as many calm ones as it takes. Raises `AssertionError`."""
    world = World(choose)
    once: list[Process] = []
    for number in range(jobs):
        job_id = f"{number:032x}"
        once.append(submit(world, job_id))
        if choose(2):
            once.append(cancel(world, job_id))
        if choose(3) == 0:
            once.append(delete(world, job_id))
    makers: list[Callable[[], Process]] = [
        *(lambda name=f"cluster {number}": cluster(world, name) for number in range(clusters)),
        lambda: state(world),
        lambda: state(world),
        lambda: reconcile(world),
    ]
    lasting = [make() for make in makers]
    for _ in range(turns):
        at = choose(len(once) + len(lasting))
        if at < len(once):
            next(once[at], None)
        elif choose(12) == 0:  # killed; whoever waits for it starts it again
            lasting[at - len(once)].close()
            lasting[at - len(once)] = makers[at - len(once)]()
        else:
            next(lasting[at - len(once)])
    calm_down(world, once, makers)
    check(world)
    return world


def calm_down(world: World, once: list[Process], makers: list[Callable[[], Process]]) -> None:
    """No more faults: what nobody holds any longer is delivered again, and everything comes to rest by itself."""
    world.calm = True
    for process in once:
        for _ in process:
            pass
    for message in world.queue.values():
        message.holder = None
    lasting = [make() for make in makers]
    for _ in range(CALM_TURNS_MAX):
        for process in lasting:
            next(process)
        if not world.queue and not world.unfolded and not world.accepted - {each.event.job_id for each in world.log}:
            break
    for _ in range(2 * len(lasting)):
        for process in lasting:
            next(process)


def check(world: World) -> None:
    assert not world.queue, "a job is stuck"
    assert not world.slots, "a slot is held by no job"
    for job_id in world.accepted:
        events = [each.event for each in world.of(job_id)]
        if job_id in world.tombstones:
            assert [type(event) for event in events] == [JobDeleted], "a deleted job has left more than that"
            assert job_id not in world.statuses.keys() | world.videos.keys() | world.inputs | world.checkpoints.keys()
            continue
        endings = [event for event in events if isinstance(event, Ending)]
        assert len(endings) == 1, f"{len(endings)} endings"
        assert (job_id in world.videos) == isinstance(endings[0], JobSucceeded), "video and ending disagree"
        assert world.statuses[job_id] == fold_all(events), "the bucket is not the log"
        numbers = [event.attempt for event in events if isinstance(event, JobStarted)]
        assert numbers == sorted(set(numbers)), "two attempts of one number"
        assert job_id not in world.inputs | world.checkpoints.keys(), "something is left behind"
        if job_id in world.confirmed_cancelled:
            assert isinstance(endings[0], JobCancelled)
        if isinstance(endings[0], JobFailed):
            assert history_of(world.of(job_id)).attempts_without_progress(0) >= MAX_ATTEMPTS, endings[0].reason
