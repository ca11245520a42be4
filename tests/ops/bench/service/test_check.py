"""The comparison by which `just bench-check` fails, on rows as the benchmark writes them."""

from ops.bench.report.plot import plot
from ops.bench.report.row import Row, Series
from ops.bench.service.check import Worse, sturdy, worse
from ops.bench.service.report import Measured, Report, merged, shown


def row(ratio: float, *, unit: str = "CPU ms", part: str = "status", over: str = "ours", under: str = "usual") -> Row:
    samples = [ratio * 0.9, ratio, ratio * 5]
    return Row(part=part, what="ended", unit=unit, over=Series(over, samples), under=Series(under, [1.0, 1.0, 1.0]))


def test_a_ratio_that_is_worse_by_more_than_30_per_cent_is_named_with_both_figures() -> None:
    (found,) = worse([row(2.0)], [row(2.7)])
    assert found == Worse(("status", "ended", "usual"), 2.0, 2.7)
    assert str(found) == "status: ended, ours / usual: 2.700, was 2.000"


def test_a_ratio_that_is_little_worse_or_better_passes() -> None:
    assert worse([row(2.0)], [row(2.5)]) == []
    assert worse([row(2.0)], [row(0.1)]) == []


def test_ratios_that_depend_on_the_machine_are_not_compared() -> None:
    assert sturdy([row(1.0, unit="/s"), row(1.0, under="old"), row(1.0, over="ours of 100"), row(1.0, unit="ms")]) == {}
    assert (
        len(
            sturdy(
                [row(1.0), row(1.0, unit="bytes", part="start"), row(1.0, unit="ms", part="visible", under="put+get")]
            )
        )
        == 3
    )


def test_a_row_that_only_one_run_has_is_not_compared() -> None:
    assert worse([], [row(9.0)]) == []
    assert worse([row(1.0)], [row(9.0, under="nginx")]) == []


def measured(part: str, ratio: float, *, failed: str = "") -> Measured:
    return Measured(
        part=part, rounds=3, seconds=1, at="now", load_before=0.5, load_after=7.25, rows=[row(ratio)], failed=failed
    )


def test_a_run_of_some_parts_leaves_the_results_of_the_others() -> None:
    before = Report({}, [measured("status", 1.0), measured("fold", 2.0)])
    after = merged(before, [measured("fold", 3.0)])
    assert [(part.part, part.rows[0].ratio) for part in after.parts] == [("status", 1.0), ("fold", 3.0)]


def test_a_ratio_of_nothing_is_in_the_table_and_not_in_the_plot() -> None:
    text = shown(Report({}, [measured("fold", 0.0)]))
    assert "0.000" in text
    assert "circle" not in plot([row(0.0)])


def test_the_text_says_how_loaded_the_machine_was_and_what_failed() -> None:
    text = shown(Report({"cores": 2}, [measured("fold", 1.0, failed="TimeoutError: state has not folded")]))
    assert "load average 0.5 before, 7.2 after" in text
    assert "failed: TimeoutError: state has not folded" in text
