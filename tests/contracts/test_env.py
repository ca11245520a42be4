from pathlib import Path

import pytest
from msgspec import Struct

from contracts import env


class Settings(Struct, frozen=True):
    must: str
    port: int = 8088
    share: float = 0.5
    on: bool = False
    networks: tuple[str, ...] = ()
    folder: Path = Path("here")


def test_a_setting_is_read_from_the_variable_of_its_name() -> None:
    variables = {"MUST": "x", "PORT": "99", "ON": "1", "NETWORKS": "10.0.0.0/8, ::1/128", "SHARE": "", "FOLDER": "/x"}
    read = env.read(Settings, variables)
    assert read == Settings("x", 99, 0.5, True, ("10.0.0.0/8", "::1/128"), Path("/x"))


@pytest.mark.parametrize(
    ("environment", "variable"),
    [({}, "MUST"), ({"MUST": "x", "PORT": "many"}, "PORT"), ({"MUST": "x", "ON": "maybe"}, "ON")],
)
def test_a_missing_or_wrong_setting_stops_the_start_and_is_named(environment: dict[str, str], variable: str) -> None:
    with pytest.raises(SystemExit, match=variable):
        env.read(Settings, environment)
