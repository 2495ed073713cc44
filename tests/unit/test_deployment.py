"""deploy/kubernetes, deploy/systemd, deploy/haproxy.cfg agree with the code, as far as that shows without a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.core.access.policy import POLICY
from broker.settings import PREFIX, Settings
from tests.support.balancer import CONFIGURATION, configured, haproxy_or_skip
from tests.support.plain_yaml import read_yaml
from tests.unit.test_compose import leaf

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KNOWN = {row.name for row in Settings.describe()}
RUNNING_SECONDS = 10.0
"""For what runs once the address is given up: `broker.wiring`."""


def documents() -> list[dict[str, Any]]:
    return [
        read_yaml(one) for path in FILES for one in re.split(r"^---$", path.read_text(), flags=re.MULTILINE)
    ]


def of(kind: str) -> dict[str, Any]:
    [found] = [one for one in documents() if one["kind"] == kind]
    return found


def broker() -> dict[str, Any]:
    [container] = of("Deployment")["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def environment() -> dict[str, str]:
    """What is given in clear; what comes out of secrets is a made-up value."""
    return {one["name"]: one.get("value", "redis://made.up:6379/0") for one in broker()["env"]}


def scalars(node: object) -> Iterator[object]:
    if isinstance(node, Mapping):
        for one in node.values():
            yield from scalars(one)
    elif isinstance(node, list):
        for one in node:
            yield from scalars(one)
    else:
        yield node


def test_there_is_one_of_each() -> None:
    kinds = [one["kind"] for one in documents()]
    assert sorted(kinds) == [
        "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceMonitor",
    ]  # fmt: skip
    for one in documents():
        assert re.fullmatch(r"[a-z0-9.]*/?v\d+", one["apiVersion"])
        assert one["metadata"] | {"labels": None} == {
            "name": "cds-broker",
            "namespace": "cds",
            "labels": None,
        }


def test_settings_exist_and_the_broker_starts_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment()
    assert given.keys() <= KNOWN
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.workers == 1
    assert not settings.embedded_store
    assert "file" not in settings.audit, "a pod's files go with the pod"


def test_ports_probes_and_routes_agree() -> None:
    container = broker()
    [port] = container["ports"]
    assert port["containerPort"] == int(environment()["CDS_PORT"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == port["name"]
        assert asked["scheme"] == "HTTPS"
        assert ("GET", asked["path"]) in POLICY
    [served] = of("Service")["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    [admitted] = of("NetworkPolicy")["spec"]["ingress"]
    assert [one["port"] for one in admitted["ports"]] == [port["containerPort"]]
    [endpoint] = of("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] == served["name"]
    assert ("GET", endpoint["path"]) in POLICY


def test_selectors_find_the_pods() -> None:
    labels = of("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert of("Service")["spec"]["selector"] == labels
    assert of("Service")["metadata"]["labels"] == labels
    assert of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert of("ServiceMonitor")["spec"]["selector"]["matchLabels"] == labels
    target = of("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", of("Deployment")["metadata"]["name"])


def test_a_pod_is_taken_out_before_it_stops() -> None:
    drain = float(environment()["CDS_DRAIN"])
    probe = broker()["readinessProbe"]
    assert drain > probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    patience = of("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert patience > drain + RUNNING_SECONDS
    rolling = of("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 0, "maxSurge": 1}
    assert of("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert of("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2


def test_a_pod_may_do_little_and_secrets_are_named_only() -> None:
    pod = of("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    own = broker()["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"]["drop"] == ["ALL"]
    for one in broker()["env"]:
        secret = "SECRET" in one["name"] or one["name"] == "CDS_REDIS_URL"
        assert not secret or "valueFrom" in one or one["name"].endswith("_FILE"), one["name"]
    mounted = {one["name"]: one["mountPath"] for one in broker()["volumeMounts"]}
    assert mounted.keys() == {one["name"] for one in pod["volumes"]}
    for name, value in environment().items():
        if name.endswith(("_FILE", "_CERT", "_KEY", "_CLIENTS", "_GESTIONNAIRES", "_DIR")):
            assert any(value == path or value.startswith(f"{path}/") for path in mounted.values()), name
    assert not [one for document in documents() for one in scalars(document) if "BEGIN" in str(one)]


# --- systemd


def members(unit: Path) -> list[tuple[str, str]]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [
        (name, value)
        for name, mark, value in (line.partition("=") for line in lines)
        if mark and name[0] != "#"
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_gives_settings_that_exist_to_a_command_that_exists(unit: Path) -> None:
    found = members(unit)
    given = dict(value.split("=", 1) for name, value in found if name == "Environment")
    assert given.keys() <= KNOWN
    assert all(name.startswith(PREFIX) for name in given)
    [start] = [value.split() for name, value in found if name == "ExecStart"]
    assert start[0].endswith("/cds-broker")
    command, rest = leaf([re.sub(r"%i|\$\{\w+\}", "made-up", word) for word in start[1:]])
    with command.make_context("unit", list(rest)) as context:
        assert not context.args
    loaded = {value.split(":")[0] for name, value in found if name == "LoadCredential"}
    assert {value.removeprefix("%d/") for value in given.values() if value.startswith("%d/")} == loaded
    stop = [float(value) for name, value in found if name == "TimeoutStopSec"]
    assert stop[0] > float(given.get("CDS_DRAIN", "0")) + RUNNING_SECONDS


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_hardened(unit: Path) -> None:
    found = dict(members(unit))
    assert found["User"] not in ("", "root")
    assert found["CapabilityBoundingSet"] == ""
    assert found["ProtectSystem"] == "strict"
    assert {found[one] for one in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome")} == {
        "yes"
    }
    assert found["RestartPreventExitStatus"] == "2"


@pytest.mark.systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    text = re.sub(
        r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    file = tmp_path / unit.name.replace("@.", "@nor.")
    file.write_text(text, encoding="utf-8")
    run = subprocess.run(
        [program, "verify", "--man=no", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    told = [line for line in run.stderr.splitlines() if file.name in line]
    assert (run.returncode, told) == (0, [])


# --- haproxy


def test_the_balancer_asks_for_readiness_sooner_than_a_broker_leaves() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    [path] = re.findall(r"http-check send meth GET uri (\S+)", text)
    assert ("GET", path) in POLICY
    [(seconds, fall)] = re.findall(r"inter (\d+)s fall (\d+)", text)
    [drain] = re.findall(r"CDS_DRAIN is\n# .* of (\d+) s", text)
    assert int(seconds) * int(fall) < int(drain)
    unit = dict(
        value.split("=", 1) for name, value in members(UNITS[0]) + members(UNITS[1]) if name == "Environment"
    )
    assert int(unit["CDS_DRAIN"]) == int(drain)
    header = Settings.model_fields["proxy_cert_header"].default
    assert f"http-request del-header {header}" in text
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", text)) <= KNOWN


@pytest.mark.haproxy
def test_haproxy_takes_it(tmp_path: Path) -> None:
    program = haproxy_or_skip()
    file = tmp_path / "haproxy.cfg"
    file.write_text(configured(8443, (8081, 8082)), encoding="utf-8")
    run = subprocess.run(
        [program, "-c", "-f", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert "[WARNING]" not in run.stderr
