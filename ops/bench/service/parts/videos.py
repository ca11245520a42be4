"""Measures videos: first readers, small and large parts, against the usual way, nginx and the other checkout.

`run` calls `measure`. The files are the same for all sides.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from contracts import wire
from contracts.events import JobSucceeded
from contracts.record import Record, video_record_name
from ops.bench.report.row import Aim, Row
from ops.bench.service import others
from ops.bench.service.asked import Asked
from ops.bench.service.client import Plan
from ops.bench.service.events import submission
from ops.bench.service.fill import in_bucket, in_log, life, publish
from ops.bench.service.ids import job_id
from ops.bench.service.processes import Process
from ops.bench.service.stack import Service
from ops.bench.service.window import CPU, P50, RATE, Against, Metric, Window, rows_of, window
from ops.bench.turns import by_turns, warmed

LARGE, SMALL = job_id("ended", 0), job_id("ended", 1)
BYTES = {LARGE: 200_000_000, SMALL: 10_000_000}
KIB, MIB = 1024, 1024 * 1024
PARTS = (("64 KiB", 64 * KIB), ("1 MiB", MIB))
READERS = 8
CLIENTS = 16
PARTS_OF_A_VIDEO = 64
FIRST_AIM = Aim("≤", 1.3)
RANGES_AIM = Aim("≥", 3.0)
SLOWEST = Metric("slowest_ms", "ms", "until all have their first part")
BYTES_A_SECOND = Metric("bytes_per_s", "B/s", "bytes a second")

Side = Callable[[], Window]


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of videos."""
    with ExitStack() as stack:
        files = asked.folder / "files" / "videos"
        files.mkdir(parents=True)
        for name, size in BYTES.items():
            _write(files, name, size)
        services: dict[str, Service] = {}
        for tree in asked.trees:
            service = asked.service(tree, "videos", VIDEO_STORE_URL=str(files))
            services[tree.name] = stack.enter_context(service.running(state=False, fill=lambda it: _fill(it, files)))
        usual = stack.enter_context(others.usual(files.parent, asked.cores))
        nginx = stack.enter_context(others.nginx(asked.folder, files, asked.cores))
        servers = {name: (service.edge, service.port) for name, service in services.items()}
        servers["usual"] = usual.process, usual.port
        if nginx is not None:
            servers["nginx"] = nginx.process, nginx.port
        yield from _first_readers(asked, services["ours"], files)
        yield from _parts(asked, servers)
        if not asked.quick:
            yield from _whole(asked, servers)


def _first_readers(asked: Asked, service: Service, files: Path) -> Iterator[Row]:
    """Yield the row of eight first readers of the large video against one; each round the file counts as a new one."""
    file = files / f"{LARGE}.mp4"

    def first(readers: int) -> Side:
        plan = _plan(service.port, LARGE, [f"bytes=0-{64 * KIB - 1}"], readers, seconds=asked.seconds, requests=readers)

        def side() -> Window:
            now = time.time_ns()
            os.utime(file, ns=(now, now))
            return window(plan, asked.cores, service.edge)

        return side

    samples = by_turns(warmed({f"{READERS} readers": first(READERS), "1 reader": first(1)}), asked.rounds)
    wanted = [Against(f"{READERS} readers", "1 reader", SLOWEST, FIRST_AIM)]
    yield from rows_of("videos", "first readers of 200 MB", samples, wanted)


def _parts(asked: Asked, servers: dict[str, tuple[Process, int]]) -> Iterator[Row]:
    """Yield the rows of parts from all over the small video, by 16 clients."""
    for name, size in PARTS[:1] if asked.quick else PARTS:
        room = BYTES[SMALL] - size
        starts = [room * at // PARTS_OF_A_VIDEO for at in range(PARTS_OF_A_VIDEO)]
        ranges = [f"bytes={start}-{start + size - 1}" for start in starts]
        sides = _sides(asked, servers, SMALL, ranges, CLIENTS)
        samples = by_turns(warmed(sides), asked.rounds)
        wanted = [
            Against("ours", "usual", RATE),
            Against("ours", "usual", CPU),
            Against("ours", "nginx", RATE),
            Against("ours", "nginx", CPU),
            Against("ours", "old", RATE, RANGES_AIM if size == 64 * KIB else None),
            Against("ours", "old", CPU),
        ]
        yield from rows_of("videos", f"parts of {name}", samples, wanted)


def _whole(asked: Asked, servers: dict[str, tuple[Process, int]]) -> Iterator[Row]:
    """Yield the rows of whole videos of 10 MB, by 1 and 16 clients."""
    for clients in (1, CLIENTS):
        samples = by_turns(warmed(_sides(asked, servers, SMALL, [], clients)), asked.rounds)
        wanted = [Against("ours", other, BYTES_A_SECOND) for other in ("usual", "nginx", "old")]
        wanted += [Against("ours", "usual", CPU), Against("ours", "usual", P50)]
        yield from rows_of("videos", f"whole, 10 MB, {clients} clients", samples, wanted)


def _sides(
    asked: Asked, servers: dict[str, tuple[Process, int]], name: str, ranges: list[str], clients: int
) -> dict[str, Side]:
    def at(process: Process, port: int) -> Side:
        plan = _plan(port, name, ranges, clients, seconds=asked.seconds)
        return lambda: window(plan, asked.cores, process)

    return {side: at(process, port) for side, (process, port) in servers.items()}


def _plan(
    port: int, name: str, ranges: list[str], clients: int, *, seconds: float, requests: int | None = None
) -> Plan:
    """Return the plan for a video: one of the `ranges` each time, or the whole if there are none."""
    return Plan(
        port=port,
        targets=[f"/videos/{name}.mp4"],
        header_values={"Range": ranges} if ranges else {},
        connections=clients,
        seconds=seconds,
        requests=requests,
        expected=206 if ranges else 200,
    )


def _write(files: Path, name: str, size: int) -> None:
    """Write a file of random bytes as a video, and its record."""
    file = files / f"{name}.mp4"
    with file.open("wb") as video:
        for _ in range(0, size, 1_000_000):
            video.write(secrets.token_bytes(1_000_000))
    ending = life(name, sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size_bytes=size)[-1]
    assert isinstance(ending, JobSucceeded)
    record = Record(submitted=submission(name), ending=ending)
    (files / video_record_name(name)).write_bytes(wire.encode_record(record))


def _fill(service: Service, files: Path) -> None:
    """Have the service know the jobs of the videos as succeeded."""
    for name in BYTES:
        ending = wire.decode_record((files / video_record_name(name)).read_bytes()).ending
        events = [submission(name), ending]
        publish(service, [*in_log(events), *in_bucket(events)])
