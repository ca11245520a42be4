"""The rights on the broker, as one table: which user may do what with each stream, bucket, durable and subject. Pure.

`permissions` makes from it what nats-server reads, and `page` what people read. A stream or durable that stands in
`contracts.inventory` and not here fails a test.
"""

from collections.abc import Mapping

from msgspec import Struct

from contracts import subjects
from contracts.event_names import WITHIN_A_STAGE
from contracts.events import (
    JobCancelled,
    JobDeclined,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSucceeded,
    StageStarted,
    StepCompleted,
)
from contracts.request_subjects import ADVISORIES
from contracts.subjects import bucket_key, bucket_stream

EDGE, STATE, WEBHOOKS, INFERENCE = "edge", "state", "webhooks", "inference"
PROVISION, OPERATOR, SUBSCRIBER, SYSTEM = "provision", "operator", "subscriber", "system"
USERS: dict[str, str] = {
    EDGE: "every edge",
    STATE: "every state, and `just replay` and `just rebuild`, which do its work",
    WEBHOOKS: "every webhook service",
    INFERENCE: "rank 0 of every cluster",
    PROVISION: "`python -m ops.provision`, which makes streams, and `just key`, which makes API keys",
    OPERATOR: "people: `just queue`, `slots`, `events` and `watch`, and the nats CLI; reads and never writes",
    SUBSCRIBER: "your own services that hear how jobs end; can do nothing else",
    SYSTEM: "`python -m ops.provision` once more, in the system account: asks whether the servers fsync",
}
"""Every user, and which processes are that user."""

Users = tuple[str, ...]


class Access(Struct, frozen=True):
    """Rights to a stream, by user. Whoever reads it may ask for its state too; `askers` may do only that.

    `writers` are the subjects that each user may publish to. `followers` may make consumers that the broker forgets by
    itself. `shown` says whether people may read it.
    """

    writers: Mapping[str, Users] = {}
    readers: Users = ()
    askers: Users = ()
    deleters: Users = ()
    purgers: Users = ()
    followers: Users = ()
    shown: bool = True


class Pulling(Struct, frozen=True):
    """Rights to a durable: to pull and acknowledge its messages; ask for its state; reset and pause it."""

    stream: str
    puller: str
    askers: Users = ()
    resetters: Users = ()


def _bucket(name: str, *, writers: Users, readers: Users, purgers: Users = (), shown: bool = True) -> dict[str, Access]:
    """Return the entry of a bucket, every key of which its writers may write."""
    written = {user: (bucket_key(name, ">"),) for user in writers}
    access = Access(written, readers=(*writers, *readers), deleters=purgers, purgers=purgers, shown=shown)
    return {bucket_stream(name): access}


STREAMS: dict[str, Access] = {
    subjects.EVENTS_STREAM: Access(
        {
            EDGE: (subjects.endings_of_kind(JobCancelled), subjects.endings_of_kind(JobDeleted)),
            STATE: (subjects.ALL_SUBMISSIONS, subjects.ALL_ENDINGS),
            INFERENCE: (
                *map(
                    subjects.endings_of_kind,
                    (JobDeclined, JobStarted, StageStarted, StepCompleted, JobReleased, JobSucceeded, JobFailed),
                ),
                f"video.events.*.{WITHIN_A_STAGE}",
            ),
        },
        readers=(EDGE, STATE, WEBHOOKS, INFERENCE),
        deleters=(STATE,),
        purgers=(STATE,),
        followers=(STATE,),
    ),
    subjects.JOBS_STREAM: Access(
        {EDGE: (subjects.job("*"),), STATE: (subjects.job("*", subjects.REQUEUED_LANE),)},
        readers=(EDGE, STATE, WEBHOOKS, INFERENCE),
        deleters=(EDGE, STATE),
    ),
    subjects.CANARY_STREAM: Access({EDGE: (subjects.ALL_CANARIES,)}, askers=(EDGE,)),
    subjects.WEBHOOKS_STREAM: Access(
        {WEBHOOKS: (subjects.ALL_DUE, subjects.webhook_scheduled("*"))}, askers=(WEBHOOKS,)
    ),
    subjects.SLOTS_STREAM: Access(
        {EDGE: (subjects.ALL_SLOTS,)},
        readers=(EDGE, STATE),
        deleters=(EDGE, STATE),
        purgers=(EDGE, INFERENCE),
    ),
    **_bucket(subjects.STATUS_BUCKET, writers=(STATE,), readers=(EDGE,), purgers=(STATE,)),
    **_bucket(subjects.INDEX_BUCKET, writers=(), readers=(EDGE, STATE), purgers=(STATE,)),
    **_bucket(subjects.TOMBSTONES_BUCKET, writers=(EDGE, STATE), readers=()),
    **_bucket(subjects.CLUSTERS_BUCKET, writers=(INFERENCE,), readers=(EDGE, STATE)),
    **_bucket(subjects.KEYS_BUCKET, writers=(PROVISION,), readers=(EDGE,), shown=False),
    **_bucket(subjects.SECRETS_BUCKET, writers=(PROVISION,), readers=(EDGE,), shown=False),
    **_bucket(subjects.REPEATS_BUCKET, writers=(EDGE,), readers=(), shown=False),
    **_bucket(subjects.COUNTERS_BUCKET, writers=(STATE,), readers=(EDGE,)),
    **_bucket(subjects.DELIVERIES_BUCKET, writers=(WEBHOOKS,), readers=(EDGE,)),
    **_bucket(subjects.WEBHOOKS_BUCKET, writers=(WEBHOOKS,), readers=(EDGE,)),
    **_bucket(subjects.NUMBERS_BUCKET, writers=(STATE,), readers=()),
}
"""By the name of the stream. Nobody writes into the index or to live copies: the broker does."""

DURABLES: dict[str, Pulling] = {
    subjects.INFERENCE_DURABLE: Pulling(subjects.JOBS_STREAM, INFERENCE, askers=(EDGE, STATE)),
    subjects.STATE_DURABLE: Pulling(subjects.EVENTS_STREAM, STATE, askers=(EDGE,), resetters=(STATE,)),
    subjects.WEBHOOKS_DURABLE: Pulling(subjects.EVENTS_STREAM, WEBHOOKS),
    subjects.DUE_DURABLE: Pulling(subjects.WEBHOOKS_STREAM, WEBHOOKS),
}
"""By the name of the durable."""

COUNTERS_OF_ALL: Users = (STATE,)
"""Who asks for the state of every stream, for the numbers of the whole service."""

HEARERS: dict[str, Users] = {
    EDGE: (subjects.ALL_LIVE, subjects.ALL_PREVIEWS),
    STATE: (ADVISORIES,),
    INFERENCE: (subjects.LIVE_CANCELLATIONS, subjects.LIVE_DELETIONS),
    OPERATOR: (subjects.ALL_LIVE, subjects.ALL_PREVIEWS, ADVISORIES),
    SUBSCRIBER: (subjects.LIVE_ENDINGS,),
}
"""What no stream keeps, and who may subscribe to it."""

TELLERS: dict[str, Users] = {INFERENCE: (subjects.ALL_PREVIEWS,)}
"""What no stream keeps, and who may publish it."""

SERVICES: dict[str, str] = {EDGE: "edge", STATE: "state", WEBHOOKS: "webhooks", INFERENCE: "cluster"}
"""Which users answer `nats service`, and under which name. The operator asks, and is the only one to be answered."""
