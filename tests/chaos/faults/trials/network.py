"""Faults of the network between a role and the broker: bytes held up, connections cut."""

import asyncio
import time
from collections.abc import Callable

from tests.chaos.faults.service import Service
from tests.chaos.faults.trial import Trial, in_phase
from tests.kit.proxy import Mode

NETWORK_S = 6.0
STORM_PAUSE_S = 0.3


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
