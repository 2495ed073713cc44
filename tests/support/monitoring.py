"""What deploy/ asks of `/metrics`: the queries of the dashboard and of the alerts, and the names in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.support.plain_yaml import read_yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"

_NAME = re.compile(r"\b(?:cds|process|python)_[a-z0-9_]+")
_LABELLED = re.compile(r"\b(cds_[a-z0-9_]+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\) \(?(?:rate|increase)?\(?(cds_[a-z0-9_]+)")
PROMETHEUS_OWN = {"instance", "job", "le"}


def alerts() -> list[dict[str, Any]]:
    groups = read_yaml(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> list[str]:
    shown = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [*shown, *(rule["expr"] for rule in alerts())]


def names() -> set[str]:
    """Series that are asked for."""
    return {name for query in queries() for name in _NAME.findall(query)}


def labels() -> set[tuple[str, str]]:
    """Series and labels that are asked for, without those that Prometheus gives."""
    found = set()
    for query in queries():
        for name, matchers in _LABELLED.findall(query):
            found |= {(name, one) for one in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)}
        for by, name in _BY.findall(query):
            found |= {(name, one) for one in re.findall(r"\w+", by)}
    return {(name, label) for name, label in found if label not in PROMETHEUS_OWN}
