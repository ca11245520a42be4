import pytest

from tests.kit.process import output_of

LEFT_TO_WALK = """
import gc, importlib
importlib.import_module({module!r})
print(gc.isenabled(), gc.get_freeze_count() > 10 * len(gc.get_objects()))
"""


@pytest.mark.parametrize("module", ["services.edge.__main__", "services.state.__main__"])
def test_a_service_has_the_collector_walk_nothing_of_what_it_imports(module: str) -> None:
    assert output_of("-c", LEFT_TO_WALK.format(module=module), within_s=60).split() == ["True", "True"]


def test_the_collector_is_back_after_a_start_that_fails() -> None:
    code = """
import gc
from contracts.process.garbage import frozen
try:
    with frozen():
        assert not gc.isenabled()
        raise ValueError
except ValueError:
    print(gc.isenabled())
"""
    assert output_of("-c", code, within_s=60) == "True\n"
