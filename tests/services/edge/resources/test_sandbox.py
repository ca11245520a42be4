"""The fork server and its children: what they are started with, and how each of them may end."""

import asyncio
import io
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from contracts.broker import Bus
from services.edge.errors import ImageRefused, Overloaded
from services.edge.image.decode import CPU_S_MAX, MEMORY_BYTES_MAX
from services.edge.resources import sandbox as sandbox_module
from services.edge.resources.child_limits import KILL_AFTER_CPU_S
from services.edge.resources.sandbox import Sandbox
from tests.kit.edge import Edge, picture, submit
from tests.kit.waiting import eventually
from tests.services.edge.spooled import normalise, normaliser

PICTURES = 200
AT_ONCE = 4


def png(side: int = 64) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, "PNG")
    return file.getvalue()


LARGE = png(3900)
"""A picture of which the decoder is still there when a test has found it, and of which two are decoded at once."""


def children_of(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def of_kernel(pid: int, file: str) -> str:
    return Path(f"/proc/{pid}/{file}").read_text()


def limits_of(pid: int) -> str:
    return " ".join(of_kernel(pid, "limits").split())


def named(pid: int, folder: str) -> dict[str, str]:
    """The entries of a folder in /proc, and where each of them leads."""
    entries = sorted(Path(f"/proc/{pid}/{folder}").iterdir(), key=lambda entry: int(entry.name))
    return {entry.name: str(entry.readlink()) if entry.is_symlink() else "" for entry in entries}


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has, but for those of spools, which a thread closes a little later."""
    return sum("(deleted)" not in place for place in named(pid, "fd").values())


def state(pid: int) -> str:
    """The state of a process as `ps` has it: T is stopped, and Z is dead but not reaped; nothing for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_dead(pid: int) -> bool:
    return state(pid) in ("", "Z")


async def child_of(sandbox: Sandbox) -> int:
    """The pid of the one child that there is, or will be."""

    def found() -> list[int]:
        return [child for server in sandbox.server_pids for child in children_of(server)]

    return (await eventually(found))[0]


@contextmanager
def stopped(pid: int) -> Generator[None, None, None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_server_has_no_environment_and_its_child_no_descriptor_but_its_own() -> None:
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        task = asyncio.create_task(normalise(LARGE, by=decoders))
        child = await child_of(sandbox)
        while f"Max cpu time {CPU_S_MAX} {CPU_S_MAX + KILL_AFTER_CPU_S}" not in limits_of(child):
            pass
        with stopped(child):
            (server,) = sandbox.server_pids
            assert of_kernel(server, "environ") == "PATH=\0"
            assert len(named(server, "task")) == 1
            assert [named(child, "fd").pop(stream) for stream in ("0", "1", "2")] == [os.devnull] * 3
            own = list(named(child, "fd").values())[3:]
            assert sorted(place[:6] for place in own) == ["/tmp/#", "/tmp/#", "socket"]
            assert f"Max address space {MEMORY_BYTES_MAX} {MEMORY_BYTES_MAX}" in limits_of(child)
        await task


async def test_two_children_work_at_once() -> None:
    """Stop the first one in its work: the second one comes to its end all the same."""
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        first = asyncio.create_task(normalise(LARGE, by=decoders))
        with stopped(await child_of(sandbox)):
            await normalise(LARGE, by=decoders)
            assert not first.done()
        await first


async def test_a_child_that_misses_its_deadline_is_killed_and_the_server_lives() -> None:
    async with Sandbox() as sandbox, normaliser(sandbox, within_s=0.3) as decoders:
        await normalise(png(), by=decoders)
        (server,) = sandbox.server_pids
        late = asyncio.create_task(normalise(LARGE, by=decoders))
        child = await child_of(sandbox)
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(Overloaded):
            await late
        assert state(child) == "", "it is neither alive nor a zombie"
        await normalise(png(), by=decoders)
        assert sandbox.server_pids == [server]


async def test_a_server_that_was_killed_takes_its_children_along_and_the_next_picture_starts_another() -> None:
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        task = asyncio.create_task(normalise(LARGE, by=decoders))
        child = await child_of(sandbox)
        (server,) = sandbox.server_pids
        os.kill(server, signal.SIGKILL)
        with pytest.raises(Overloaded):
            await task
        await eventually(lambda: is_dead(child))
        await normalise(png(), by=decoders)
        assert state(server) == ""
        assert server not in sandbox.server_pids


async def test_a_server_whose_end_nobody_has_noticed_yet_costs_no_picture() -> None:
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        await normalise(png(), by=decoders)
        (server,) = sandbox.server_pids
        os.kill(server, signal.SIGKILL)
        while state(server) != "Z":  # without a turn of the event loop, which would notice
            pass
        await normalise(png(), by=decoders)


async def test_after_the_fault_of_a_child_another_server_takes_over_and_the_first_one_finishes_its_work() -> None:
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        good = asyncio.create_task(normalise(LARGE, by=decoders))
        held = await child_of(sandbox)
        (server,) = sandbox.server_pids
        with stopped(held):
            bad = asyncio.create_task(normalise(LARGE, by=decoders))
            (faulty,) = await eventually(lambda: set(children_of(server)) - {held})
            os.kill(faulty, signal.SIGSEGV)
            with pytest.raises(ImageRefused):
                await bad
            await normalise(png(), by=decoders)
            assert len(sandbox.server_pids) == 2
        await good
        await eventually(lambda: server not in sandbox.server_pids)
        assert state(server) == ""


async def test_after_many_children_another_server_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "FORKS_MAX", 2)
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        await normalise(png(), by=decoders)
        (server,) = sandbox.server_pids
        await normalise(png(), by=decoders)
        await eventually(lambda: server not in sandbox.server_pids)
        await normalise(png(), by=decoders)


async def test_a_server_that_cannot_start_is_not_started_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "BACKOFF_S", 60.0)
    monkeypatch.setattr(sandbox_module, "BACKOFF_S_MAX", 60.0)
    async with Sandbox("tests.kit") as sandbox, normaliser(sandbox) as decoders:
        for _ in range(2):
            with pytest.raises(Overloaded):
                await normalise(png(), by=decoders)
            await eventually(lambda: sandbox.server_pids == [])


async def test_no_descriptor_and_no_process_is_left_of_many_pictures() -> None:
    async with Sandbox() as sandbox, normaliser(sandbox) as decoders:
        await normalise(png(), by=decoders)
        (server,) = sandbox.server_pids
        before = descriptors_of(os.getpid()), descriptors_of(server)

        async def some(data: bytes) -> None:
            for number in range(PICTURES // AT_ONCE):
                task = asyncio.create_task(normalise(data, by=decoders))
                if number % 3 == 0:
                    await asyncio.sleep(0)
                    task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(some(data) for data in (png(), png(300), b"no picture", png()[:-30])))
        assert sandbox.server_pids == [server]
        assert children_of(server) == []
        await eventually(lambda: (descriptors_of(os.getpid()), descriptors_of(server)) == before)


async def test_an_edge_that_is_killed_leaves_no_process(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    edge = edges()
    await edge.ready(client)
    assert (await submit(client, edge))[0] == 202
    (server,) = children_of(edge.pid)
    task = asyncio.create_task(submit(client, edge, image_url=picture(5000, 5000)))
    child = (await eventually(lambda: children_of(server)))[0]
    edge.kill()
    await eventually(lambda: is_dead(server) and is_dead(child))
    with pytest.raises(aiohttp.ClientError):
        await task
