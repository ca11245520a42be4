"""Clocks that step, roles that start in any order, and two clusters of one name."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence

from tests.chaos.faults import checker
from tests.chaos.faults.service import ROLES, Service
from tests.chaos.faults.trial import Reference, Trial, in_phase, key, undisturbed
from tests.kit.waiting import eventually

HOUR_S = 3600.0
LOAD = 6


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
