"""The faults, and the moments at which each happens to a job. A trial is one of both; it fails by `AssertionError`."""

import asyncio
import itertools
import os
import random
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus, Stored, Unavailable
from contracts.events import JobStarted
from contracts.subjects import bucket_stream
from tests.chaos.faults import checker
from tests.chaos.faults.proxy import Mode
from tests.chaos.faults.service import ACK_WAIT_S, KILLABLE, PHASES, ROLES, Service, alive
from tests.chaos.faults.surroundings import surroundings
from tests.chaos.faults.trial import Reference, Trial, in_phase, key, undisturbed
from tests.conftest import all_folded, eventually

SLEEP_S = 3 * ACK_WAIT_S
NETWORK_S = 6.0
NOT_READY_WITHIN_S = 15.0
STORM_PAUSE_S = 0.3
AWAY_S = (0.0, 5.0, 60.0)
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
LOAD = 6


# -- processes ---------------------------------------------------------------------------------------------------------


def kill(name: str, phase: str) -> Trial:
    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            pids = service.pids(name)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not any(alive(pid) for pid in pids))
            go_on()

        return await in_phase(service, phase, fault)

    return Trial(f"kill -9 of {name}", phase, run)


def terminate(name: str, phase: str) -> Trial:
    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            pids = service.pids(name)
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            go_on()
            await eventually(lambda: not any(alive(pid) for pid in pids), within_s=60)

        return await in_phase(service, phase, fault)

    return Trial(f"SIGTERM of {name}", phase, run)


def sleep(name: str, phase: str) -> Trial:
    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            pids = service.pids(name)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            go_on()
            await asyncio.sleep(SLEEP_S)
            assert all(state_of(pid) == "T" for pid in pids), "it did not sleep"
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        return await in_phase(service, phase, fault)

    return Trial(f"SIGSTOP of {name} beyond ack_wait", phase, run)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def broker_away(seconds: float, phase: str) -> Trial:
    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            service.paused.add("broker")
            service.broker.kill()
            go_on()
            await asyncio.sleep(seconds)
            if seconds:
                if seconds > NOT_READY_WITHIN_S:
                    assert await service.get("/readyz") == 503, "ready without a broker"
                assert await service.get("/health") == 503, "healthy without a broker"
                assert await service.get("/livez") == 200
            service.paused.discard("broker")
            await eventually(lambda: service.broker.alive)

        return await in_phase(service, phase, fault)

    return Trial(f"broker away for {seconds:g} s", phase, run)


# -- the network -------------------------------------------------------------------------------------------------------


def network(role: str, mode: Mode, phase: str) -> Trial:
    async def run(service: Service) -> float:
        proxy = service.proxies[role]

        async def fault(go_on: Callable[[], None]) -> None:
            before = proxy.hits
            proxy.set(mode)
            go_on()
            await asyncio.sleep(NETWORK_S)
            proxy.set("pass")
            assert proxy.hits > before, "nothing was held up"

        return await in_phase(service, phase, fault)

    return Trial(f"{role} to broker: {mode}", phase, run)


def reset_storm(role: str, phase: str) -> Trial:
    async def run(service: Service) -> float:
        proxy = service.proxies[role]

        async def fault(go_on: Callable[[], None]) -> None:
            before = proxy.hits
            go_on()
            until = time.monotonic() + NETWORK_S
            while time.monotonic() < until:
                proxy.cut()
                await asyncio.sleep(STORM_PAUSE_S)
            assert proxy.hits > before, "nothing was reset"

        return await in_phase(service, phase, fault)

    return Trial(f"{role} to broker: reset storm", phase, run)


# -- files and streams -------------------------------------------------------------------------------------------------


def store_full(options: str, what: str) -> Trial:
    """A file system without room, or that cannot be written to, lies over the videos for a while."""

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            await command("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(service.videos))
            try:
                go_on()
                await eventually(lambda: "video_not_stored" in service.processes["cluster"].text, within_s=60)
            finally:
                await command("umount", str(service.videos))

        return await in_phase(service, "decoding", fault, endings=("Failed", "Succeed"), same=False)

    return Trial(what, "decoding", run)


async def command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words)
    assert await process.wait() == 0, words


def broker_store_full(phase: str) -> Trial:
    """Its file system has no room for a while: it refuses what is published, and is started again by itself."""

    async def run(service: Service) -> float:
        store, aside = service.broker.store, service.folder / f"aside-{uuid.uuid4().hex}"

        async def fault(go_on: Callable[[], None]) -> None:
            fill(store / "filler")
            go_on()
            async with service.link() as link:
                await eventually(lambda: refuses(service, link), within_s=60)
            (store / "filler").unlink()

        await copied(service, store, aside)
        await command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(store))
        try:
            await copied(service, aside, store)
            return await in_phase(service, phase, fault)
        finally:
            await copied(service, store, aside)
            await command("umount", str(store))
            await asyncio.to_thread(shutil.rmtree, store)
            await copied(service, aside, store)

    return Trial("broker store full", phase, run)


async def copied(service: Service, source: Path, target: Path) -> None:
    """Whatever the broker has stored, while it is down."""
    service.paused.add("broker")
    service.broker.kill()
    await asyncio.to_thread(shutil.copytree, source, target, dirs_exist_ok=True)
    if target == service.broker.store:
        service.paused.discard("broker")
        await service.at_rest()


def fill(file: Path) -> None:
    """Until there is no room left."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            while True:
                os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)


async def refuses(service: Service, link: Bus) -> bool:
    """Whether the broker says that it had no room; what it stores meanwhile uses up the last of it."""
    with suppress(Unavailable):
        await link.publish("video.events.filler.step", bytes(16 * 1024), within_s=0.5)
    try:
        async with service.client.get(f"{service.broker.monitor_url}/healthz") as answer:
            return "no space left" in await answer.text()
    except aiohttp.ClientError:
        return False


def flipped_block(stream: str, kind: str, phase: str, *, number: int, kills: str | None = None) -> Trial:
    """A byte of the job's message of that kind, on the broker's disk, while it is down; SIGTERM trusts its index.

    `kills` is whose death makes somebody ask for that message.
    """

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            async with service.link() as link:
                stored = await link.read(stream, f"video.{kind}")
            chosen = stored[-1]
            before = service.broker.pid
            service.paused.add("broker")
            service.broker.send(number)
            service.broker.wait()
            flip_message(service.broker.store, stream, chosen)
            for pid in service.pids(kills) if kills else ():
                os.kill(pid, signal.SIGKILL)
            service.paused.discard("broker")
            await eventually(lambda: service.broker.alive and service.broker.pid != before)
            async with service.link() as link:
                found = await link.read(stream, chosen.subject)
            assert chosen.sequence not in [each.sequence for each in found], "the broker did not lose it"
            go_on()

        return await in_phase(service, phase, fault)

    how = signal.Signals(number).name
    return Trial(f"a byte of {stream} flipped, broker ended by {how}", f"{phase}, {kind}", run)


def flip_message(store: Path, stream: str, message: Stored) -> None:
    """One byte of its content, in the block that holds it."""
    for block in store.glob(f"**/streams/{stream}/msgs/*.blk"):
        content = bytearray(block.read_bytes())
        begins = content.rfind(message.data, content.find(message.subject.encode()))
        if begins >= 0:
            content[begins + len(message.data) // 2] ^= 0x01
            block.write_bytes(content)
            return
    raise AssertionError("no block holds the message")


def flipped_checkpoint(part: str) -> Trial:
    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            service.paused.add("cluster")
            told = service.processes["cluster"].text.count("checkpoint_unusable")
            for pid in service.pids("cluster"):
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not service.ranks())
            files = list(service.scratch.glob("checkpoints/*"))
            chosen = next(file for file in files if ("conditions" in file.name) == (part == "conditions"))
            flip(chosen)
            service.paused.discard("cluster")
            go_on()
            await eventually(lambda: service.processes["cluster"].text.count("checkpoint_unusable") > told, within_s=60)

        took_s = await in_phase(service, "denoising", fault)
        async with service.link() as link:
            stored = await link.read(subjects.EVENTS_STREAM, "video.events.*.started")
        last = wire.decode_event(stored[-1].data)
        assert isinstance(last, JobStarted)
        assert (last.attempt, last.resumed_from_step) == (2, 0), "it did not start over"
        return took_s

    return Trial(f"a byte of the checkpoint's {part} flipped", "denoising", run)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x01
    file.write_bytes(content)


def damaged_video(damage: Callable[[Path], None], what: str) -> Trial:
    async def run(service: Service) -> float:
        job_id = await undisturbed(service)
        file = service.videos / f"{job_id}.mp4"
        whole = file.read_bytes()
        damage(file)
        assert await service.get(f"/videos/{job_id}.mp4") == 500, "damage was hidden"
        file.write_bytes(whole)
        await checker.check(service, job_id, made=Reference.made)
        return 0.0

    return Trial(f"a byte of the mp4 {what}", "ended", run)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def deleted(what: str, phase: str) -> Trial:
    """By hand; the fault lasts until the broker is provisioned again."""

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            async with service.link() as link:
                if what == "bucket":
                    await link.admin.delete_stream(bucket_stream(subjects.STATUS_BUCKET))
                else:
                    await link.admin.delete_consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
            go_on()
            await asyncio.sleep(1)
            await service.provision()

        return await in_phase(service, phase, fault)

    return Trial(f"the {what} deleted", phase, run)


def events_again() -> Trial:
    """All of a job's events once more, twice, in any order; and some that nobody knows."""

    async def run(service: Service) -> float:
        job_id = await undisturbed(service)
        before = await service.status(job_id)
        async with service.link() as link:
            stored = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
            again = [each for each in stored if not subjects.is_ending(each.subject)] * 2
            random.Random(0).shuffle(again)
            for number, each in enumerate(again):
                await link.publish(each.subject, each.data, message_id=f"{job_id}.again.{number}", within_s=5)
            unknown = [b"\x00\xff", b'{"type":"JobTeleported"}', b'{"type":"StepCompleted","version":9}', b"[" * 50_000]
            for content in unknown:
                await link.publish(f"video.events.{job_id}.step", content, within_s=5)
            await eventually(lambda: caught_up(service), within_s=60)
        assert await service.status(job_id) == before
        await undisturbed(service)
        return 0.0

    return Trial("events repeated, out of order, unknown", "ended", run)


async def caught_up(service: Service) -> bool:
    async with service.link() as link:
        return await all_folded(link)


# -- several, clocks, orders -------------------------------------------------------------------------------------------


def two_of_one_name() -> Trial:
    async def run(service: Service) -> float:
        other = service.process("cluster")
        other.start()
        try:
            jobs = await asyncio.gather(*(service.submit(key()) for _ in range(LOAD)))
            for job_id in jobs:
                await checker.check(service, job_id, made=Reference.made)
        finally:
            await asyncio.to_thread(other.stop)
        await service.at_rest()
        return 0.0

    return Trial("two clusters of one name", "under load", run)


def clock(role: str, offset_s: float, phase: str) -> Trial:
    """A role's clock steps while a job is held there; of a cluster that is also killed, the next one has it too."""

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            service.shift_the_clock(role, offset_s)
            for pid in service.pids(role) if phase == "denoising" else ():
                os.kill(pid, signal.SIGKILL)
            go_on()

        try:
            return await in_phase(service, phase, fault)
        finally:
            service.shift_the_clock(role, 0)

    return Trial(f"clock of {role} steps by {offset_s / HOUR_S:+g} h", phase, run)


def start_order(order: Sequence[str]) -> Trial:
    async def run(service: Service) -> float:
        service.paused |= {*ROLES, "broker"}
        for role in ROLES:
            await asyncio.to_thread(service.processes[role].stop)
        service.broker.kill()
        began = time.time()
        for name in order:
            service.paused.discard(name)
            await asyncio.sleep(0.5)
        await service.at_rest()
        took_s = time.time() - began
        await undisturbed(service)
        return took_s

    return Trial("start in any order", ", ".join(order), run)


def rolling_restart() -> Trial:
    async def run(service: Service) -> float:
        jobs = [asyncio.create_task(service.submit(key())) for _ in range(LOAD)]
        for role in ROLES:
            await asyncio.to_thread(service.processes[role].stop)
            await eventually(lambda role=role: service.processes[role].alive)
            await service.at_rest()
        for job in jobs:
            await checker.check(service, await job, made=Reference.made)
        return 0.0

    return Trial("rolling restart", "under load", run)


# -- all of them -------------------------------------------------------------------------------------------------------

MODES: tuple[Mode, ...] = ("drop", "half", "delay")
SLEEPERS = ("cluster", "rank 1", "broker", "state", "edge")


def all_trials() -> Iterator[Trial]:
    yield from (kill(name, phase) for name in KILLABLE for phase in PHASES)
    yield from (terminate(name, phase) for name in ("edge", "state", "torchrun", "broker") for phase in PHASES)
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
    yield kill("state", "not folded")
    yield kill("broker", "no ending")
    yield kill("rank 0", "decoding")
    yield network("cluster", "drop", "denoising")
    yield flipped_checkpoint("state")
    yield damaged_video(flip, "flipped")
    yield events_again()
    yield clock("cluster", DAY_S, "denoising")
    yield from surroundings()
