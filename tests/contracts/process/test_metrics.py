"""What is counted, how many series there may be, and what Prometheus reads of it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.process.exposition import OPENMETRICS, TEXT, exposed
from contracts.process.metrics import OTHER, SERIES_MAX, Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Each sample of the text by its name and labels, as Prometheus writes them."""
    text, _ = exposed(metrics, "text/plain", of_process=False)
    return {
        sample.name + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_counter_counts_by_labels_and_known_series_begin_with_0() -> None:
    metrics = Metrics()
    refusals = metrics.counter("wanjet_refusals_total", "Refusals.", "reason", known=[("busy",), ("gone",)])
    plain = metrics.counter("wanjet_things_total", "Things.")
    refusals.add("busy")
    refusals.add("late", by=2.5)
    found = samples(metrics)
    assert found["wanjet_refusals_total,reason=busy"] == 1
    assert found["wanjet_refusals_total,reason=gone"] == 0
    assert found["wanjet_refusals_total,reason=late"] == 2.5
    assert found["wanjet_things_total"] == 0
    plain.add()
    assert samples(metrics)["wanjet_things_total"] == 1


def test_labels_that_a_stranger_may_choose_make_no_series_without_end() -> None:
    metrics = Metrics()
    requests = metrics.counter("wanjet_requests_total", "Requests.", "method", "path")
    seconds = metrics.histogram("wanjet_request_seconds", "Seconds.", "path", bounds=(1.0,))
    for each in range(10 * SERIES_MAX):
        requests.add("GET", f"/{each}")
        seconds.observe(0.5, f"/{each}")
    assert len(requests.values) == len(seconds.values) == SERIES_MAX + 1
    assert requests.values[OTHER, OTHER] == 9 * SERIES_MAX
    assert sum(requests.values.values()) == 10 * SERIES_MAX
    assert sum(seconds.values[OTHER,].counts) == 9 * SERIES_MAX
    requests.add("GET", "/0")
    assert requests.values["GET", "/0"] == 2, "a known series goes on"


def test_a_histogram_counts_up_to_each_bound() -> None:
    metrics = Metrics()
    seconds = metrics.histogram("wanjet_wait_seconds", "Seconds.", bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value)
    found = samples(metrics)
    assert [found[f"wanjet_wait_seconds_bucket,le={bound}"] for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert found["wanjet_wait_seconds_count"] == 4
    assert found["wanjet_wait_seconds_sum"] == pytest.approx(7.65)


def test_a_block_is_timed_also_if_it_fails() -> None:
    seconds = Metrics().histogram("wanjet_wait_seconds", "Seconds.", bounds=(100.0,))
    with pytest.raises(KeyError), seconds.timed():
        raise KeyError
    assert seconds.values[()].counts == [1, 0]


def test_what_another_object_keeps_is_read_at_each_scrape_and_may_be_absent() -> None:
    metrics = Metrics()
    kept: dict[tuple[str, ...], float] = {}
    metrics.read("gauge", "wanjet_kept_bytes", "Kept.", "store", by=lambda: kept)
    metrics.gauge("wanjet_ready", "Ready.", by=lambda: len(kept))
    assert samples(metrics).keys() >= {"wanjet_ready"}
    assert not any(name.startswith("wanjet_kept") for name in samples(metrics))
    kept["s3",] = 7
    assert (samples(metrics)["wanjet_kept_bytes,store=s3"], samples(metrics)["wanjet_ready"]) == (7, 1)


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.counter("wanjet_odd_total", "Odd.", "name").add('a "b"\n\\c')
    assert samples(metrics)['wanjet_odd_total,name=a "b"\n\\c'] == 1


def test_a_name_is_given_once() -> None:
    metrics = Metrics()
    metrics.counter("wanjet_odd_total", "Odd.")
    with pytest.raises(ValueError, match="wanjet_odd_total"):
        metrics.gauge("wanjet_odd_total", "Odd.", by=lambda: 1)


def test_both_texts_have_the_build_and_the_process() -> None:
    for accept, kind in (("*/*", TEXT), ("application/openmetrics-text; version=1.0.0,text/plain", OPENMETRICS)):
        text, said = exposed(Metrics(), accept)
        assert said == kind
        assert b"wanjet_build_info{" in text
        assert b"process_resident_memory_bytes " in text
        assert text.endswith(b"# EOF\n") is (kind == OPENMETRICS)


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=none", "text/plain; version=\x00", ";;,"])
def test_no_header_of_a_stranger_breaks_the_text(accept: str) -> None:
    assert b"wanjet_build_info{" in exposed(Metrics(), accept)[0]
