"""Compare the second half of `ops/metrics.md` with the metrics that the code makes, and those with Prometheus' customs.

`python -m tests.ops.test_metrics` writes that half anew. The first half is written by hand.
"""

import re
import sys

import pytest

from contracts.process.metrics import Metric
from tests.kit import catalogue
from tests.kit.machine import REPOSITORY

PAGE = REPOSITORY / "ops" / "metrics.md"
HEAD = """## Every metric

Made from the code by `just metrics`; a test compares.

"""
"""Opens the part of the page that is made from the code. What stands before it is written by hand."""
UNITS = ("seconds", "bytes", "info")
EVERYBODY = ["edge", "state", "webhooks", "cluster"]


def page() -> str:
    """Return the whole page: its first half as it stands, and its second half as the code says."""
    lines = ["| metric | kind | labels | of | what it is |", "|---|---|---|---|---|"]
    for name, (metric, processes) in sorted(catalogue.every().items()):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        of = "every process" if processes == EVERYBODY else ", ".join(processes)
        lines.append(f"| `{name}` | {metric.kind} | {labels} | {of} | {metric.help} |")
    return by_hand() + HEAD + "\n".join(lines) + "\n"


def by_hand() -> str:
    """Return the first half of the page."""
    return PAGE.read_text().partition(HEAD)[0] if PAGE.exists() else ""


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "run `just metrics`"


@pytest.mark.parametrize("name", sorted(catalogue.every()))
def test_names_are_as_prometheus_wants_them(name: str) -> None:
    metric, _ = catalogue.every()[name]
    assert re.fullmatch(r"wanjet(_[a-z]+)+", name)
    assert (metric.kind == "counter") is name.endswith("_total")
    assert metric.kind != "histogram" or name.endswith(UNITS)
    assert re.fullmatch(r"[A-Z1].*\.|[01] .*\.", metric.help), "a sentence"
    assert not set(metric.labels) & {"job", "instance", "le", "quantile"}, "Prometheus' own"


def test_a_metric_of_several_processes_means_the_same_in_each() -> None:
    for process, metrics in catalogue.by_process().items():
        for name, metric in metrics.all.items():
            first, _ = catalogue.every()[name]
            assert described(metric) == described(first), process


def described(metric: Metric) -> tuple[object, ...]:
    return metric.kind, metric.help, metric.labels, metric.bounds


def test_no_process_but_one_state_serves_numbers_of_the_whole_service() -> None:
    of_all = set(catalogue.by_process()[catalogue.OF_ONE_STATE].all)
    assert len(of_all) > 20
    for process in EVERYBODY:
        assert not of_all & set(catalogue.by_process()[process].all)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.relative_to(REPOSITORY)}\n")
