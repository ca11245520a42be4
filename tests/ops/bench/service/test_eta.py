"""How wrong estimates were, as a table."""

from ops.bench.service.eta import Run, Said, table

RUN = Run(
    jobs=2,
    said=[
        Said(0, 0.0, "InQueue", None),
        *(Said(0, at, "InQueue", 102.0 - at) for at in (1.0, 2.0, 3.0)),
        *(Said(1, at, "InProgress", 40.0 - at) for at in (1.0, 2.0, 3.0)),
    ],
    ended_at={0: 100.0, 1: 50.0},
)


def test_an_estimate_is_as_wrong_as_it_is_off_the_moment_of_the_end() -> None:
    lines = {line[:26].strip(): line[26:].split() for line in table(RUN).splitlines() if line}
    assert lines["waiting"][:3] == ["4", "1", "2.0"], "asked, without an estimate, median error"
    assert lines["running"][:3] == ["3", "0", "10.0"]
    assert lines["waiting, end within 60 s"][:2] == ["0", "0"]
