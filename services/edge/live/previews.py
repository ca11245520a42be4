"""Hand previews of running jobs to the readers who follow them, from one subscription. `hub` runs it.

Previews are on plain NATS and never stored: one that is missed is not made good, and no reader falls behind by one.
"""

from contracts import subjects, wire
from contracts.broker import Bus
from services.edge.live.readers import Readers
from services.edge.live.shown import shown_preview


async def hear_previews(broker: Bus, readers: Readers) -> None:
    """Subscribe to previews once there is a connection, for as long as it lasts; the client renews it by itself.

    What cannot be decoded, or speaks of another job than its subject, is dropped: anybody may publish there.
    """

    async def on_preview(subject: str, payload: bytes) -> None:
        job_id = subjects.job_id_of(subject)
        if not readers.any_for(job_id):
            return
        try:
            preview = wire.decode_preview(payload)
        except wire.Undecodable:
            return
        if preview.job_id == job_id:
            readers.offer_passing(shown_preview(preview))

    await broker.listen_once_connected(subjects.ALL_PREVIEWS, on_preview)
