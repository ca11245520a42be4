"""Faults of processes: killed, told to end, stopped, and a broker that is away."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.chaos.faults.service import ACK_WAIT_S, Service, alive
from tests.chaos.faults.trial import Trial, in_phase
from tests.kit.waiting import eventually

SLEEP_S = 3 * ACK_WAIT_S
NOT_READY_WITHIN_S = 15.0


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
