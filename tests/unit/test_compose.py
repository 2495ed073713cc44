"""deploy/compose.yaml and what it starts agree with the code: there is not always a container engine to ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import typer.main

from broker.__main__ import app
from broker.settings import PREFIX, Settings
from broker.settings_sync import networks
from registry.toml_file import read
from tests.support.plain_yaml import read_yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = read_yaml((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
OURS = [name for name, one in SERVICES.items() if "build" in one]

VERSION = re.compile(r".*:v?(\d+)\.(\d+)\.\d+(-[\w.-]+)?")
SHARED = "service:"


def environment(service: str) -> dict[str, str]:
    """With the default of what the shell may give."""
    found = SERVICES[service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for name, value in dict(found).items()}


def published() -> Iterator[tuple[str, str, str, str]]:
    """Service, address, port of this machine, port of the container."""
    for name, one in SERVICES.items():
        for port in one.get("ports", ()):
            address, outside, inside = port.split(":")
            yield name, address, outside, inside


def listening(service: str) -> set[int]:
    """Ports on which a service can be reached by the others."""
    one = SERVICES[service]
    if service == "kafka":
        return {urlsplit(part).port or 0 for part in environment("kafka")["KAFKA_LISTENERS"].split(",")}
    if service == "valkey":
        return {6379}
    words = one["command"]
    assert words[words.index("--host") + 1] == "0.0.0.0"
    return {int(words[words.index("--port") + 1])}


def leaf(words: list[str]) -> tuple[Any, list[str]]:
    """The command of the command line that these words name, and the rest of them."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "get_command"):
        command = command.get_command(typer.Context(command), rest.pop(0))
    return command, rest


def test_images_are_pinned() -> None:
    for name, one in SERVICES.items():
        if name not in OURS:
            assert VERSION.fullmatch(one["image"]), name
    kafka = VERSION.fullmatch(SERVICES["kafka"]["image"])
    assert kafka is not None
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:")
    assert (int(kafka[1]), int(kafka[2])) >= (4, 1)
    for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE):
        assert VERSION.fullmatch(image), image


def test_it_is_reached_from_this_machine_only() -> None:
    ports = list(published())
    assert {address for _, address, _, _ in ports} == {"127.0.0.1"}
    assert len({outside for _, _, outside, _ in ports}) == len(ports)
    assert all(one.get("network_mode", SHARED).startswith(SHARED) for one in SERVICES.values())


def test_the_broker_listens_where_it_may_and_is_reached_by_the_entrance() -> None:
    given = environment("broker")
    assert (given["CDS_AUTH"], given["CDS_HOST"]) == ("none", "127.0.0.1")
    front = SERVICES["broker"]["network_mode"].removeprefix(SHARED)
    assert "ports" not in SERVICES["broker"]
    [(_, _, outside, inside)] = [one for one in published() if one[0] == front]
    proxy = (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8")
    assert f"listen {inside};" in proxy
    assert f"proxy_pass 127.0.0.1:{given['CDS_PORT']};" in proxy
    assert given["CDS_PUBLIC_URL"] == f"http://127.0.0.1:{outside}/fhir"


@pytest.mark.parametrize("service", OURS)
def test_settings_exist_and_are_right(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment(service)
    known = {row.name for row in Settings.describe()}
    assert {name for name in given if name.startswith(PREFIX)} == given.keys()
    assert given.keys() <= known
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CDS_GESTIONNAIRES", raising=False)  # a file of the container's
    settings = Settings.load()
    if service == "broker":
        assert settings.sync
        assert not settings.embedded_store
        assert settings.locator_secret is not None


@pytest.mark.parametrize("service", OURS)
def test_commands_exist_with_their_options(service: str) -> None:
    command, rest = leaf(SERVICES[service]["command"])
    with command.make_context(service, list(rest)) as context:  # raises where an option is unknown or wrong
        assert not context.args


def test_every_region_has_an_agent_of_its_own() -> None:
    regions = {name.removeprefix("gestionnaire-") for name in SERVICES if name.startswith("gestionnaire-")}
    declared = {one.id: one for one in read(DEPLOY / "compose" / "gestionnaires.toml")}
    assert regions == declared.keys()
    assert len(regions) == 3
    for slug, manager in declared.items():
        box, agent = SERVICES[f"gestionnaire-{slug}"]["command"], SERVICES[f"agent-{slug}"]["command"]
        assert box[box.index("--region") + 1] == manager.region
        assert agent[agent.index("--gestionnaire") + 1] == slug
        assert agent[agent.index("--manager-url") + 1] == manager.base_url
        address = urlsplit(manager.base_url)
        assert address.hostname == f"gestionnaire-{slug}"
        assert address.port in listening(f"gestionnaire-{slug}")


def test_addresses_lead_to_services_that_listen_there() -> None:
    for service in OURS:
        given = environment(service)
        addresses = [urlsplit(f"//{given[name]}") for name in ("CDS_KAFKA_BOOTSTRAP",) if name in given]
        addresses += [urlsplit(given[name]) for name in ("CDS_REDIS_URL",) if name in given]
        for address in addresses:
            assert address.hostname in SERVICES
            assert address.port in listening(address.hostname)


def test_kafka_is_one_node_in_kraft_mode_with_an_address_for_each_side() -> None:
    given = environment("kafka")
    assert set(given["KAFKA_PROCESS_ROLES"].split(",")) == {"broker", "controller"}
    listeners = named(given["KAFKA_LISTENERS"])
    advertised = named(given["KAFKA_ADVERTISED_LISTENERS"])
    protocols = dict(part.split(":") for part in given["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert listeners.keys() == protocols.keys()
    assert advertised.keys() == listeners.keys() - {given["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert given["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised
    assert (
        given["KAFKA_CONTROLLER_QUORUM_VOTERS"]
        == f"{given['KAFKA_NODE_ID']}@kafka:{listeners['CONTROLLER'][1]}"
    )
    assert advertised["INTERNAL"] == ("kafka", listeners["INTERNAL"][1])
    [(_, address, outside, inside)] = [one for one in published() if one[0] == "kafka"]
    assert advertised["EXTERNAL"] == (address, int(outside))
    assert listeners["EXTERNAL"][1] == int(inside)
    assert environment("broker")["CDS_KAFKA_BOOTSTRAP"] == "kafka:{}".format(advertised["INTERNAL"][1])
    assert any(one.endswith(f":{given['KAFKA_LOG_DIRS']}") for one in SERVICES["kafka"]["volumes"])


def named(listeners: str) -> Mapping[str, tuple[str, int]]:
    parts = (part.partition("://") for part in listeners.split(","))
    return {name: (rest.rpartition(":")[0], int(rest.rpartition(":")[2])) for name, _, rest in parts}


def test_the_store_keeps_what_it_is_given() -> None:
    words = SERVICES["valkey"]["command"]
    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
    assert any(one.endswith(":/data") for one in SERVICES["valkey"]["volumes"])


def test_what_is_waited_for_is_there_and_can_be_healthy() -> None:
    for name, one in SERVICES.items():
        waits = one.get("depends_on", {})
        assert waits.keys() <= SERVICES.keys() - {name}
        for other, how in waits.items():
            assert how["condition"] == (
                "service_healthy" if "healthcheck" in SERVICES[other] else "service_started"
            )
        shared = one.get("network_mode", "").removeprefix(SHARED)
        assert not shared or shared in waits
        asked = {
            urlsplit(f"//{value}").hostname for key, value in environment(name).items() if "BOOTSTRAP" in key
        }
        assert asked <= waits.keys()
    for one in SERVICES.values():
        if "healthcheck" in one:
            assert one["healthcheck"]["test"][0] == "CMD"
            assert {"interval", "timeout", "retries"} <= one["healthcheck"].keys()


def test_volumes_are_declared_and_files_are_there() -> None:
    used = set()
    for one in SERVICES.values():
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
                assert volume.endswith(":ro")
            else:
                used.add(source)
    assert used == COMPOSE["volumes"].keys()
    mounted = [one.split(":")[1] for one in SERVICES["broker"]["volumes"]]
    given = environment("broker")
    assert {given["CDS_GESTIONNAIRES"], given["CDS_DATA_DIR"]} == {*mounted}


def test_the_image_is_built_of_what_is_there_and_runs_as_nobody_in_particular() -> None:
    for service in OURS:
        build = SERVICES[service]["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    assert {"broker", "adapters", "registry", "pyproject.toml", "constraints.txt"} <= {*copied}
    assert all((ROOT / name).exists() for name in copied)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in kept if line.startswith("!")} == {*copied}
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    user = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert user == ["10001:10001"]
    assert f"CDS_DATA_DIR={environment('broker')['CDS_DATA_DIR']}" in last
    assert 'ENTRYPOINT ["cds-broker"]' in last


def test_the_broker_may_call_managers_where_containers_are() -> None:
    allowed = networks(environment("broker")["CDS_MANAGER_NETWORKS"])
    for address in ("172.18.0.5", "192.168.16.5", "10.89.0.5"):  # of Docker's and Podman's default pools
        assert any(ip_address(address) in network for network in allowed)
