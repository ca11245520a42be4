"""Fixtures for every test: a real broker, and a connection to it; and the mark of unit tests."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.kit")

from contracts.broker import Bus, bus  # noqa: E402  # after the kit's assertions are registered
from ops import provision  # noqa: E402
from tests.kit import auth, unit  # noqa: E402
from tests.kit.broker import Broker, provision_settings  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{unit.MARK}: needs no broker, process, torch or browser; set by itself")
    config.addinivalue_line("markers", "slow: takes a second or more, and is no unit test whatever it needs")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep `pytest -m unit` from importing other tests, which takes longer than all unit tests run."""
    if config.getoption("markexpr") != unit.MARK:
        return None
    if collection_path.is_dir():
        return None if unit.holds_unit_files(collection_path) else True
    return True if collection_path.match("test_*.py") and not unit.is_unit_file(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark the unit tests, and put the files first whose tests may take longest, so that all workers end together."""
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        slow = item.get_closest_marker("slow") is not None
        if not slow and unit.is_unit_file(item.path) and unit.is_unit_test(fixtures):
            item.add_marker(unit.MARK)
    yield  # other plugins choose among them, and shuffle files and tests
    longest_s: dict[Path, float] = {}
    for item in items:
        longest_s[item.path] = max(longest_s.get(item.path, 0), _may_take_s(item))
    items.sort(key=lambda item: -longest_s[item.path])


def _may_take_s(item: pytest.Item) -> float:
    """Return the time limit that a test states in seconds; without one 1, and 0 for a unit test."""
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit else 0 if item.get_closest_marker(unit.MARK) else 1


@pytest.fixture
def broker(tmp_path: Path) -> Generator[Broker, None, None]:
    """A running broker, not provisioned, with a store of its own."""
    broker = Broker(tmp_path / "jetstream")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def link(broker: Broker) -> AsyncGenerator[Bus, None]:
    """A connection to a provisioned broker."""
    async with bus.connect(broker.url, name="test") as link:
        await provision.provision(link, provision_settings(broker))
        await auth.make_key(link)
        yield link
