"""The queries of the dashboard and the rules in `ops/dashboards`, and the names that stand in them."""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.kit.machine import REPOSITORY

FOLDER = REPOSITORY / "ops" / "dashboards"
DASHBOARD, RULES, RULES_TEST = FOLDER / "wanjet.json", FOLDER / "alerts.yml", FOLDER / "alerts_test.yml"
SCRAPES = FOLDER / "prometheus.yml"

RATE_INTERVAL = "$__rate_interval"
"""Grafana's name for a time that is long enough for a rate."""

_METRIC = re.compile(r"\b(?:wanjet|process)_\w+\b|\bup\b")
_SELECTOR = re.compile(r"(\b(?:wanjet|process)_\w+|\bup)\{([^}]*)\}")
_LABEL = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")


@dataclass(frozen=True)
class Query:
    """One query, and where it stands: a panel's title or an alert's name, with its place there."""

    where: str
    text: str
    legend: str = ""

    def text_for(self, interval: str) -> str:
        """Return the query with a time in place of Grafana's."""
        return self.text.replace(RATE_INTERVAL, interval)

    @property
    def metrics(self) -> set[str]:
        return set(_METRIC.findall(re.sub(r'"[^"]*"', '""', self.text)))

    @property
    def selected(self) -> list[tuple[str, str, str, str]]:
        """Return (metric, label, operator, value) of every label that a selector names."""
        return [(metric, *label) for metric, inside in _SELECTOR.findall(self.text) for label in _LABEL.findall(inside)]

    @property
    def kept(self) -> set[str]:
        """Return the labels by which it sums."""
        return {label.strip() for inside in _BY.findall(self.text) for label in inside.split(",")}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def of_dashboard() -> list[Query]:
    return [
        Query(f"{panel['title']} ({target['refId']})", target["expr"], target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def of_rules() -> list[Query]:
    return [Query(rule["alert"], rule["expr"]) for rule in rules()]
