"""`just slots`: how many slots each tenant has taken."""

from msgspec.structs import replace

from contracts.broker import Bus
from contracts.job_log import JobLog
from ops.slots import read, table
from tests.kit.broker import Broker
from tests.kit.builders import submitted
from tests.kit.process import output_of

IDS = [f"{number:032x}" for number in range(4)]


async def test_each_tenant_has_a_line_and_slots_without_a_job_are_counted(broker: Broker, link: Bus) -> None:
    job_log = JobLog(link, "test")
    assert table(await read(link)) == ["no slot is taken"]
    for tenant, job_id in (("two", IDS[0]), ("one", IDS[1]), ("one", IDS[2]), ("one", IDS[2])):
        await job_log.slots.take(tenant, job_id, 3)
    await job_log.queue.add(replace(submitted(), job_id=IDS[1], tenant="one", has_slot=True), within_s=5)
    cells = [line.split() for line in output_of("-m", "ops.slots", within_s=60, **broker.environment).splitlines()]
    assert cells[0] == ["tenant", "slots", "oldest", "without", "a", "job"]
    assert [(row[0], row[1], row[-1]) for row in cells[1:]] == [("one", "2", "1"), ("two", "1", "1")]
