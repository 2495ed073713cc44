"""deploy/kubernetes, deploy/systemd, deploy/haproxy.cfg agree with the code, as far as that shows without a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from broker import __version__
from broker.commands.supervisor import _DRAIN_SECONDS
from broker.core.access.policy import POLICY
from broker.settings import PREFIX, Settings
from tests.support.balancer import CONFIGURATION, configured, haproxy_or_skip
from tests.support.yaml_files import documents as yaml_documents
from tests.unit.test_compose import leaf

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KNOWN = {row.name for row in Settings.describe()}
AGENT = "cds-agent-nor"
KUBERNETES = "1.30"
RUNNING_SECONDS = 2 * _DRAIN_SECONDS
"""For those that serve, once they have drained, and then for the process in the background: `broker.commands.supervisor`."""


@cache
def read() -> list[dict[str, Any]]:
    return [one for path in FILES for one in yaml_documents(path.read_text(encoding="utf-8"))]


def documents() -> list[dict[str, Any]]:
    return deepcopy(read())


def of(kind: str, name: str = "cds-broker") -> dict[str, Any]:
    [found] = [one for one in documents() if one["kind"] == kind and one["metadata"].get("name") == name]
    return found


def broker() -> dict[str, Any]:
    [container] = of("Deployment")["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def agent() -> dict[str, Any]:
    [container] = of("Deployment", AGENT)["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def environment(container: Mapping[str, Any] | None = None) -> dict[str, str]:
    return {one["name"]: one["value"] for one in (container or broker())["env"]}


def scalars(node: object) -> Iterator[object]:
    if isinstance(node, Mapping):
        for one in node.values():
            yield from scalars(one)
    elif isinstance(node, list):
        for one in node:
            yield from scalars(one)
    else:
        yield node


def test_it_is_all_there() -> None:
    kinds = {(one["kind"], one["metadata"].get("name")) for one in documents() if "metadata" in one}
    assert kinds == {
        *((kind, "cds-broker") for kind in (
            "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceMonitor",
        )),
        *((kind, AGENT) for kind in ("Deployment", "NetworkPolicy")),
        ("NetworkPolicy", "nobody"),
        ("Namespace", "cds"),
    }  # fmt: skip
    assert {one["metadata"].get("namespace", "cds") for one in documents() if "metadata" in one} == {"cds"}


KNOWN_TO_KUBERNETES = [
    one for one in documents() if "metadata" in one and not one["apiVersion"].startswith("monitoring.")
]


@pytest.mark.parametrize(
    "one", KNOWN_TO_KUBERNETES, ids=lambda one: f"{one['kind']} {one['metadata']['name']}"
)
def test_it_is_what_kubernetes_takes(one: dict[str, Any]) -> None:
    """By the schemas of its API, where nothing is allowed that they do not know."""
    kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_the_schemas_find_what_is_wrong() -> None:
    wrong = of("PodDisruptionBudget")
    wrong["spec"]["maxUnavailabel"] = wrong["spec"].pop("maxUnavailable")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_settings_exist_and_processes_start_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "redis-url").write_text("redis://made.up:6379/0")
    for container in (broker(), agent()):
        given = environment(container)
        assert given.keys() <= KNOWN
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, str(tmp_path / "redis-url") if name == "CDS_REDIS_URL_FILE" else value)
            settings = Settings.load()
        if container == broker():
            assert settings.workers == 1
            assert not settings.embedded_store
            assert "file" not in settings.audit, "a pod's files go with the pod"


def test_commands_exist_with_their_options() -> None:
    for container in (broker(), agent()):
        command, rest = leaf(container["args"])
        with command.make_context("pod", list(rest)) as context:
            assert not context.args
        assert container["image"] == f"cds-broker:{__version__}"


def test_nobody_is_reached_but_by_what_is_said() -> None:
    assert of("NetworkPolicy", "nobody")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert of("Namespace", "cds")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_what_is_named_is_made_of_files() -> None:
    """By kustomization.yaml; of the agent, which is elsewhere, its own comment says what it needs."""
    made = next(one for one in documents() if one["kind"] == "Kustomization")
    assert {*made["resources"]} == {path.name for path in FILES} - {"kustomization.yaml", "agent.yaml"}
    keys = {
        one["name"]: {Path(file).name if "=" not in file else file.partition("=")[0] for file in one["files"]}
        for one in (*made["configMapGenerator"], *made["secretGenerator"])
    }
    volumes = of("Deployment")["spec"]["template"]["spec"]["volumes"]
    named = {
        one["name"]: one.get("secret", {}).get("secretName") or one.get("configMap", {}).get("name")
        for one in volumes
    }
    [endpoint] = of("ServiceMonitor")["spec"]["endpoints"]
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["key"] in keys[credentials["name"]]
    assert {*filter(None, named.values()), credentials["name"]} == keys.keys()
    mounted = {one["mountPath"]: named[one["name"]] for one in broker()["volumeMounts"]}
    for value in environment().values():
        folder, _, file = value.rpartition("/")
        if mounted.get(folder):
            assert file in keys[mounted[folder]], value
    ignored = (DEPLOY.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/kubernetes/secrets/", "/deploy/kubernetes/files/"} <= {*ignored}


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


@pytest.mark.parametrize("name", ["cds-broker", AGENT])
def test_a_pod_may_do_little_and_secrets_are_files(name: str) -> None:
    pod = of("Deployment", name)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"]["drop"] == ["ALL"]
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    for setting in environment(container):
        secret = re.search(r"SECRET|PASSWORD|TOKEN|REDIS_URL", setting)
        assert not secret or setting.endswith("_FILE"), setting
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted.keys() == {one["name"] for one in pod["volumes"]}
    for setting, value in environment(container).items():
        if setting.endswith(("_FILE", "_CERT", "_KEY", "_CLIENTS", "_GESTIONNAIRES", "_DIR")):
            assert any(value == path or value.startswith(f"{path}/") for path in mounted.values()), setting
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
    assert stop[0] > float(given["CDS_DRAIN"]) + RUNNING_SECONDS if "CDS_DRAIN" in given else stop[0] > 10


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
