"""deploy/prometheus, deploy/grafana and deploy/runbook belong together; tests/component/test_metrics.py asks a broker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from broker.__main__ import app
from broker.core.messages import MESSAGES
from broker.errors import FailureKind
from tests.support import monitoring
from tests.unit.test_compose import leaf

RUNBOOK = monitoring.DEPLOY / "runbook"
PAGES = sorted(RUNBOOK.glob("*.md"))
HEADINGS = ["Meaning", "What users see", "Check", "Act", "Escalate"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    named = [rule["alert"] for rule in monitoring.alerts()]
    assert len(named) == len({*named}) >= 15
    assert {*named} == {page.stem for page in PAGES}


@pytest.mark.parametrize("rule", monitoring.alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_where_its_page_is(rule: dict[str, dict[str, str]]) -> None:
    severity = rule["labels"]["severity"]
    assert severity in ("critical", "warning")
    assert rule["annotations"]["runbook_url"].endswith(f"/runbook/{rule['alert']}.md")
    text = (RUNBOOK / f"{rule['alert']}.md").read_text(encoding="utf-8")
    assert f"Severity: **{severity}**. {rule['annotations']['summary']}." in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_tells_what_it_means_what_to_look_at_and_what_to_do(page: object) -> None:
    text = (RUNBOOK / str(page)).read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert len(part.split()) >= 2
    for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (RUNBOOK / link).exists(), link


def commands() -> list[list[str]]:
    found = set()
    for page in PAGES:
        for words in re.findall(r"`cds-broker ([^`]+)`", page.read_text(encoding="utf-8")):
            found.add(tuple(re.findall(r"'[^']*'|\S+", words)))
    return [list(one) for one in sorted(found)]


def test_pages_name_commands() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_that_a_page_names_exists(words: Sequence[str]) -> None:
    command, rest = leaf([one.strip("'") for one in words])
    with command.make_context("runbook", ["one" if one in ("…", "SLUG") else one for one in rest]) as context:
        assert not context.args
    assert app.info.name == "cds-broker"


def test_metrics_that_pages_name_are_those_of_the_broker() -> None:
    written = {
        name for page in PAGES for name in re.findall(r"\b(cds_[a-z_]+)", page.read_text(encoding="utf-8"))
    }
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (monitoring.DEPLOY.parent / "broker" / "observability").glob("*.py")
    )
    known = {*re.findall(r'"(cds_[a-z_]+)"', source)}
    bare = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in written}
    assert {name for name in bare if name not in known} == set()


def test_codes_that_are_asked_for_exist() -> None:
    asked = "\n".join([*monitoring.queries(), *(page.read_text(encoding="utf-8") for page in PAGES)])
    reasons = set(re.findall(r'reason="([^"\\]+)"', asked.replace('\\"', '"')))
    assert reasons >= {"access.keys", "internal"}
    assert reasons <= MESSAGES.keys()
    kinds = {kind for found in re.findall(r'kind=~"([^"]+)"', asked) for kind in found.split("|")}
    assert kinds
    assert kinds <= {kind.value for kind in FailureKind}


def test_panels_stand_side_by_side_and_ask_something() -> None:
    taken: set[tuple[int, int]] = set()
    panels = monitoring.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])


@pytest.mark.promtool
@pytest.mark.parametrize(
    "arguments",
    [("rules", "alerts.yml"), ("config", "--syntax-only", "prometheus.yml")],
    ids=lambda arguments: arguments[0],
)
def test_promtool_takes_them(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    run = subprocess.run(
        [promtool, "check", *arguments],
        cwd=monitoring.DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.promtool
def test_promtool_reads_the_queries_of_the_dashboard() -> None:
    """As the expressions of recording rules, with Grafana's variables given a value."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    rules = [
        {"record": "checked", "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for query in monitoring.queries()
    ]
    document = json.dumps({"groups": [{"name": str(n), "rules": [one]} for n, one in enumerate(rules)]})
    run = subprocess.run(
        [promtool, "check", "rules", "--lint=none", "/dev/stdin"],
        input=document,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(rules)} rules found" in run.stdout
