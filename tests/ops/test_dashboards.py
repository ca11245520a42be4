"""The dashboard and the rules name metrics and labels that exist, and the rules fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ops.local.stack import MEASURED, WEBHOOKS
from ops.local.up import Settings
from services.state.numbers.advisories import KINDS
from tests.kit import catalogue, queries
from tests.kit.machine import REPOSITORY
from tests.kit.queries import DASHBOARD, FOLDER, RULES, RULES_TEST, SCRAPES, Query
from tests.test_pages import anchors

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus has it"
)
OF_THE_LIBRARY = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
OF_PROMETHEUS = {"job", "instance", "le"}
RUNBOOK = "https://github.com/wanjet/wanjet/blob/main/ops/runbook.md#"
EVERY = [*queries.of_dashboard(), *queries.of_rules()]
every_query = pytest.mark.parametrize("query", EVERY, ids=lambda query: query.where)


def promtool(*arguments: str, text: str | None = None) -> str:
    """Run promtool, and return what it prints; its complaint fails the test."""
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, check=False, timeout=60, cwd=FOLDER
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def labels_of(sample: str) -> set[str]:
    """Return the labels of a metric, by the name of one of its samples."""
    for metric, _ in catalogue.every().values():
        if sample in metric.sample_names:
            return set(metric.labels)
    return set()


@every_query
def test_every_metric_that_is_named_exists(query: Query) -> None:
    exported = {name for metric, _ in catalogue.every().values() for name in metric.sample_names} | OF_THE_LIBRARY
    assert query.metrics
    assert query.metrics <= exported


@every_query
def test_every_label_that_is_named_exists(query: Query) -> None:
    known = OF_PROMETHEUS.union(*(labels_of(metric) for metric in query.metrics))
    assert query.kept <= known
    for metric, label, _, _ in query.selected:
        assert label in labels_of(metric) | OF_PROMETHEUS, (metric, label)
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= known


@every_query
def test_every_value_that_is_selected_is_one_that_the_code_may_give(query: Query) -> None:
    given = {
        name: {value for labels in metric.read() for value in labels}
        for metrics in catalogue.by_process().values()
        for name, metric in metrics.all.items()
    }
    given["wanjet_jobs_ended_total"] = {"succeeded", "failed", "cancelled"}
    given["wanjet_attempts_begun_total"] = {"first", "further"}
    given["wanjet_jetstream_advisories_total"] = set(KINDS.values())
    for metric, label, operator, value in query.selected:
        if label not in OF_PROMETHEUS:
            wanted = value.split("|") if operator == "=~" else [value]
            assert set(wanted) <= given[metric], (metric, label)


@every_query
def test_what_is_counted_for_the_whole_service_is_summed_since_it_may_move_to_another_state(query: Query) -> None:
    counted = {
        sample
        for metric in catalogue.by_process()[catalogue.OF_ONE_STATE].all.values()
        for sample in metric.sample_names
        if metric.kind != "gauge"
    }
    for summed, metric in re.findall(r"(sum[^(]*(?:\([^)]*\) )?\()?(?:rate|increase)\((\w+)", query.text):
        assert summed or metric not in counted, query.text


def test_every_metric_of_ours_is_on_the_dashboard_or_in_a_rule() -> None:
    named = set[str]().union(*(query.metrics for query in EVERY))
    unseen = {name for name, (metric, _) in catalogue.every().items() if not named & set(metric.sample_names)}
    assert unseen == set()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in queries.panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in queries.panels()}) == len(places)
    assert '"${datasource}"' in DASHBOARD.read_text()


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    known = anchors(REPOSITORY / "ops" / "runbook.md")
    for rule in queries.rules():
        assert re.fullmatch(r"WanJet([A-Z][a-z]+)+", rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        link = rule["annotations"]["runbook_url"]
        assert link.startswith(RUNBOOK)
        assert link.removeprefix(RUNBOOK) in known, link


def test_every_alert_has_a_test_in_which_it_is_quiet_and_one_in_which_it_fires() -> None:
    tried: dict[str, set[bool]] = {}
    for each in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        for case in each["alert_rule_test"]:
            tried.setdefault(case["alertname"], set()).add(bool(case.get("exp_alerts")))
    assert tried == {rule["alert"]: {True, False} for rule in queries.rules()}


def test_prometheus_is_told_the_ports_of_just_up() -> None:
    text = SCRAPES.read_text()
    with_webhooks = re.sub(r"^  # (- job_name|  )", r"  \1", text, flags=re.MULTILINE)
    first = Settings().metrics_port
    told = {f"wanjet-{name}": f"127.0.0.1:{first + at}" for at, name in enumerate(MEASURED)}
    assert targets(with_webhooks) == told
    del told[f"wanjet-{WEBHOOKS}"]
    assert targets(text) == told


def targets(text: str) -> dict[str, str]:
    """Return the one target of each job in a configuration of Prometheus."""
    return {
        each["job_name"]: each["static_configs"][0]["targets"][0] for each in yaml.safe_load(text)["scrape_configs"]
    }


@needs_promtool
def test_promtool_finds_nothing_wrong_with_rules_and_scrapes() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES.name)
    assert "SUCCESS" in promtool("check", "config", SCRAPES.name)


@needs_promtool
def test_promtool_fires_each_alert_when_it_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULES_TEST.name)


@needs_promtool
def test_promtool_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.text_for("5m")}
        for number, query in enumerate(queries.of_dashboard())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))
