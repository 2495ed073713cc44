"""deploy/compose.yaml and what it starts agree with the code and with each other: there is not always a container engine."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import typer.main

from broker import __version__
from broker.__main__ import app
from broker.commands import healthcheck
from broker.commands.supervisor import _DRAIN_SECONDS
from broker.core.access.policy import POLICY
from broker.settings import PREFIX, Settings
from broker.settings_sync import networks
from registry.toml_file import read
from tests.support.balancer import CONFIGURATION, haproxy_or_skip
from tests.support.yaml_files import document

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = document(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
OURS = [name for name, one in SERVICES.items() if "build" in one]
BROKERS = ("broker-1", "broker-2")
REGIONS = [name.removeprefix("gestionnaire-") for name in SERVICES if name.startswith("gestionnaire-")]
PROXY = (DEPLOY / "compose" / "haproxy.cfg").read_text(encoding="utf-8")
SECRETS = DEPLOY / "compose" / "secrets.sh"

VERSION = re.compile(r".*:v?(\d+)\.(\d+)\.\d+(-[\w.-]+)?")
SHARED = "service:"
WRITES_ITS_ROOT = {"kafka": "its start script writes the configuration beside the program"}


def environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}


def command(service: str) -> list[str]:
    found: list[str] = SERVICES[service]["command"]
    return found


def options(service: str) -> dict[str, str]:
    """`--name value` and `--name=value` of a command."""
    words = command(service)
    pairs = dict(zip(words, [*words[1:], ""], strict=True)) | dict(
        word.split("=", 1) for word in words if "=" in word
    )
    return {name: value for name, value in pairs.items() if name.startswith("--")}


def published() -> Iterator[tuple[str, str, str, str]]:
    """Service, address, port of this machine, port of the container."""
    for name, one in SERVICES.items():
        for port in one.get("ports", ()):
            address, outside, inside = port.split(":")
            yield name, address, outside, inside


def mounts(service: str) -> dict[str, tuple[str, bool]]:
    """What is mounted where, and whether it can be written to."""
    parts = [one.split(":") for one in SERVICES[service].get("volumes", ())]
    return {part[1]: (part[0], part[2:] != ["ro"]) for part in parts}


def interface(service: str) -> str:
    """The service whose network interface this one has."""
    return str(SERVICES[service].get("network_mode", SHARED + service)).removeprefix(SHARED)


def listening(service: str) -> set[int]:
    """Ports on which a service can be reached by others on its networks."""
    if service == "kafka":
        return {urlsplit(part).port or 0 for part in environment("kafka")["KAFKA_LISTENERS"].split(",")}
    if service == "valkey":
        return {6379}
    if service == "loopback":
        asked = options("prometheus")["--web.listen-address"]
        return {int(port) for port in re.findall(r"^\s*bind :(\d+)$", PROXY, re.MULTILINE)} | {int(asked[1:])}
    assert options(service)["--host"] == "0.0.0.0"
    return {int(options(service)["--port"])}


def leaf(words: list[str]) -> tuple[Any, list[str]]:
    """The command of the command line that these words name, and the rest of them."""
    found: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(found, "get_command"):
        found = found.get_command(typer.Context(found), rest.pop(0))
    return found, rest


# --- the file


def test_it_is_what_the_compose_specification_says() -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_schema_finds_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text((DEPLOY / "compose.yaml").read_text(encoding="utf-8").replace("cap_drop:", "cap_drops:"))
    run = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1


def test_the_whole_is_there() -> None:
    assert {*BROKERS, "entrance", "valkey", "kafka", "prometheus", "grafana"} <= SERVICES.keys()
    assert len(REGIONS) == 3


def test_images_are_pinned() -> None:
    for name, one in SERVICES.items():
        assert VERSION.fullmatch(one["image"]), name
        assert (one["image"] == f"cds-broker:{__version__}") == (name in OURS)
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:")
    kafka = VERSION.fullmatch(SERVICES["kafka"]["image"])
    assert kafka is not None
    assert (int(kafka[1]), int(kafka[2])) >= (4, 1)
    for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE):
        assert VERSION.fullmatch(image), image


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_do_little(service: str) -> None:
    one = SERVICES[service]
    assert one["cap_drop"] == ["ALL"]
    assert "cap_add" not in one
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not one.get("privileged", False)
    assert one["user"].split(":")[0] not in ("", "0", "root")
    assert one["read_only"] is (service not in WRITES_ITS_ROOT)
    limits = one["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert one.get("network_mode", SHARED).startswith((SHARED, "none"))


def test_it_is_reached_from_this_machine_only() -> None:
    ports = list(published())
    assert {address for _, address, _, _ in ports} == {"127.0.0.1"}
    assert len({outside for _, _, outside, _ in ports}) == len(ports)
    for service, _, _, inside in ports:
        assert service == "grafana" or int(inside) in listening(service)
    assert {outside for service, _, outside, _ in ports if service == "loopback"} == {"8080", "9090"}


def test_nobody_but_the_brokers_reaches_the_store() -> None:
    on_it = {name for name, one in SERVICES.items() if "store" in one.get("networks", ())}
    assert on_it == {"valkey", "loopback"}
    assert SERVICES["valkey"]["networks"] == ["store"]
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert {name for name in SERVICES if interface(name) == "loopback"} == {
        *("loopback", "entrance", "prometheus"),
        *BROKERS,
    }


def test_what_is_waited_for_is_there_and_can_be_waited_for() -> None:
    for name, one in SERVICES.items():
        waits = one.get("depends_on", {})
        assert waits.keys() <= SERVICES.keys() - {name}
        for other, how in waits.items():
            asked = "test" in SERVICES[other].get("healthcheck", {})
            ends = SERVICES[other]["restart"] == "no"
            expected = "service_healthy" if asked else "service_started"
            assert how["condition"] == ("service_completed_successfully" if ends else expected)
        assert interface(name) in {name, "none", *waits}
        asked_by_it = {
            urlsplit(f"//{value}").hostname for key, value in environment(name).items() if "BOOTSTRAP" in key
        }
        assert asked_by_it <= {*waits, "kafka" if name == "kafka" else ""}
    for one in SERVICES.values():
        if "test" in one.get("healthcheck", {}):
            assert one["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
            assert {"interval", "timeout", "retries"} <= one["healthcheck"].keys()


def test_volumes_are_declared_and_files_are_there() -> None:
    used = set()
    for name in SERVICES:
        for source, written in mounts(name).values():
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert not written, source
            else:
                used.add(source)
    assert used == COMPOSE["volumes"].keys()
    kept = [
        source
        for name in SERVICES
        for source, written in mounts(name).values()
        if written and source[0] != "."
    ]
    assert {one for one in kept if kept.count(one) > 1} == set(), "two write to one volume"


# --- brokers, regions, agents


@pytest.mark.parametrize("service", OURS)
def test_settings_exist_and_are_right(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = environment(service)
    known = {row.name for row in Settings.describe()}
    assert given.keys() <= known
    made = made_secrets(tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, inside(value, service, made))
    monkeypatch.delenv("CDS_GESTIONNAIRES", raising=False)  # a file of the container's
    settings = Settings.load()
    if service in BROKERS:
        assert settings.sync
        assert settings.redis_url is not None
        assert re.fullmatch(r"redis://:[0-9a-f]{64}@valkey:6379/0", settings.redis_url.get_secret_value())
        for file in (
            settings.locator_secret_file,
            settings.federation_secret_file,
            settings.audit_secret_file,
        ):
            assert file is not None
            assert len(file.read_text()) == 64


def inside(value: str, service: str, made: Mapping[str, Path]) -> str:
    """A path of the container as one of this machine, where the secrets are; other values as they are."""
    for mounted, (source, _) in mounts(service).items():
        if source in made and value.startswith(f"{mounted}/"):
            return str(made[source] / value.removeprefix(f"{mounted}/"))
    return value


def test_the_brokers_are_alike_but_for_their_port_and_their_data() -> None:
    one, two = (environment(name) for name in BROKERS)
    assert {name for name in one if one[name] != two.get(name)} == {"CDS_PORT"}
    assert one.keys() == two.keys()
    left, right = (mounts(name) for name in BROKERS)
    assert {path for path in left if left[path] != right[path]} == {one["CDS_DATA_DIR"]}
    for name in BROKERS:
        mounted = mounts(name)
        for setting, value in environment(name).items():
            if setting.endswith(("_FILE", "_DIR", "_GESTIONNAIRES")):
                assert any(value == path or value.startswith(f"{path}/") for path in mounted), setting


def test_a_broker_that_leaves_is_taken_out_first() -> None:
    [(seconds, fall)] = re.findall(r"inter (\d+)s fall (\d+)", PROXY)
    for name in BROKERS:
        drain = int(environment(name)["CDS_DRAIN"])
        assert drain > int(seconds) * int(fall)
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain + 2 * _DRAIN_SECONDS


def test_the_entrance_leads_to_both_brokers_and_is_the_only_address() -> None:
    servers = re.findall(r"^\s*server (\S+) (\S+)$", PROXY, re.MULTILINE)
    given = {name: environment(name) for name in BROKERS}
    assert dict(servers) == {name: f"{one['CDS_HOST']}:{one['CDS_PORT']}" for name, one in given.items()}
    [bound] = re.findall(r"^\s*bind :(\d+)$", PROXY, re.MULTILINE)
    [outside] = [out for service, _, out, port in published() if (service, port) == ("loopback", bound)]
    for one in given.values():
        assert one["CDS_AUTH"] == "none"
        assert one["CDS_PUBLIC_URL"] == f"http://127.0.0.1:{outside}/fhir"
    assert {name: interface(name) for name in (*BROKERS, "entrance")} == dict.fromkeys(
        (*BROKERS, "entrance"), "loopback"
    )


def test_the_entrance_treats_brokers_as_the_balancer_of_production_does() -> None:
    def backend(text: str) -> list[str]:
        lines = text.partition("\nbackend brokers\n")[2].splitlines()
        return [line for line in lines if not line.strip().startswith("server ")]

    assert backend(PROXY) == backend(CONFIGURATION.read_text(encoding="utf-8"))
    assert len(backend(PROXY)) > 8


@pytest.mark.haproxy
def test_haproxy_takes_the_entrance() -> None:
    run = subprocess.run(
        [haproxy_or_skip(), "-c", "-f", str(DEPLOY / "compose" / "haproxy.cfg")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert "[WARNING]" not in run.stderr


@pytest.mark.parametrize("service", [one for one in OURS if one != "secrets"])
def test_commands_exist_with_their_options(service: str) -> None:
    found, rest = leaf(command(service))
    with found.make_context(service, list(rest)) as context:  # raises where an option is unknown or wrong
        assert not context.args


def test_every_region_has_an_agent_of_its_own() -> None:
    declared = {one.id: one for one in read(DEPLOY / "compose" / "gestionnaires.toml")}
    assert {*REGIONS} == declared.keys()
    for slug, manager in declared.items():
        box, agent = options(f"gestionnaire-{slug}"), options(f"agent-{slug}")
        assert box["--region"] == manager.region
        assert agent["--gestionnaire"] == slug
        assert agent["--manager-url"] == manager.base_url
        address = urlsplit(manager.base_url)
        assert address.hostname == f"gestionnaire-{slug}"
        assert address.port in listening(f"gestionnaire-{slug}")


@pytest.mark.parametrize(
    "service", [name for name in OURS if "test" in SERVICES[name].get("healthcheck", {})]
)
def test_what_is_asked_how_it_is_has_an_answer(service: str) -> None:
    marked, program, *rest = SERVICES[service]["healthcheck"]["test"]
    assert (marked, program, rest[:2]) == ("CMD", "python", ["-m", healthcheck.__name__])
    asked = urlsplit(rest[2] if rest[2:] else healthcheck.address(environment(service)))
    if service in BROKERS:
        assert f"{asked.hostname}:{asked.port}" in PROXY
        assert ("GET", asked.path) in POLICY
    else:
        assert asked.port in listening(service)


def test_images_that_serve_nothing_are_not_asked() -> None:
    assert "HEALTHCHECK" in DOCKERFILE
    for service in OURS:
        serves = service in BROKERS or service.startswith("gestionnaire-")
        assert SERVICES[service]["healthcheck"].get("disable", False) is not serves


def test_the_broker_may_call_managers_where_containers_are() -> None:
    for name in BROKERS:
        allowed = networks(environment(name)["CDS_MANAGER_NETWORKS"])
        for address in ("172.18.0.5", "192.168.16.5", "10.89.0.5"):  # of Docker's and Podman's default pools
            assert any(ip_address(address) in network for network in allowed)


# --- secrets


def made_secrets(directory: Path) -> dict[str, Path]:
    """What secrets.sh makes, by the volume that it is in there."""
    found = {"broker-secrets": directory / "own", "store-secrets": directory / "shared"}
    for one in found.values():
        one.mkdir(exist_ok=True)
    given = [str(found[mounts("secrets")[path][0]]) for path in command("secrets")]
    subprocess.run(["/bin/sh", str(SECRETS), *given], check=True, timeout=60)
    return found


def test_secrets_are_made_once(tmp_path: Path) -> None:
    made = made_secrets(tmp_path)
    before = {path: path.read_text() for one in made.values() for path in one.iterdir()}
    assert {path.name for path in made["broker-secrets"].iterdir()} == {"locator", "federation", "audit"}
    assert len({*before.values()}) == len(before)
    for path in made["broker-secrets"].iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    (made["broker-secrets"] / "audit").unlink()
    after = {path: path.read_text() for one in made_secrets(tmp_path).values() for path in one.iterdir()}
    assert after.keys() == before.keys()
    assert [path.name for path in after if after[path] != before[path]] == ["audit"]


def test_secrets_are_mounted_where_they_are_asked_for() -> None:
    entry = SERVICES["secrets"]["entrypoint"]
    assert mounts("secrets")[entry[1]] == ("./compose/secrets.sh", False)
    path = command("valkey")[1]
    assert mounts("valkey")[str(Path(path).parent)] == ("store-secrets", False)
    assert path.endswith("/valkey.conf")
    assert "broker-secrets" not in {source for source, _ in mounts("valkey").values()}
    for name in SERVICES:
        for variable, value in environment(name).items():
            assert not re.search(r"SECRET$|PASSWORD$|TOKEN$", variable), (name, value)


# --- what is not ours


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
    [(_, address, outside, inner)] = [one for one in published() if one[0] == "kafka"]
    assert advertised["EXTERNAL"] == (address, int(outside))
    assert listeners["EXTERNAL"][1] == int(inner)
    for name in SERVICES:
        if "CDS_KAFKA_BOOTSTRAP" in environment(name):
            assert environment(name)["CDS_KAFKA_BOOTSTRAP"] == "kafka:{}".format(advertised["INTERNAL"][1])
    assert given["KAFKA_LOG_DIRS"] in mounts("kafka")


def named(listeners: str) -> Mapping[str, tuple[str, int]]:
    parts = (part.partition("://") for part in listeners.split(","))
    return {name: (rest.rpartition(":")[0], int(rest.rpartition(":")[2])) for name, _, rest in parts}


def megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "g": 1024}[unit.lower()[0]]


def test_the_store_keeps_what_it_is_given() -> None:
    given = options("valkey")
    assert given["--appendonly"] == "yes"
    assert given["--maxmemory-policy"] == "noeviction"
    assert mounts("valkey")["/data"] == ("valkey-data", True)
    limit = SERVICES["valkey"]["deploy"]["resources"]["limits"]["memory"]
    assert megabytes(limit) >= 2 * megabytes(given["--maxmemory"])


def test_prometheus_asks_each_broker_and_reads_the_alerts() -> None:
    given = document(DEPLOY / "compose" / "prometheus.yml")
    [job] = given["scrape_configs"]
    [targets] = [one["targets"] for one in job["static_configs"]]
    assert targets == [f"{environment(name)['CDS_HOST']}:{environment(name)['CDS_PORT']}" for name in BROKERS]
    assert ("GET", job["metrics_path"]) in POLICY
    assert (
        job["job_name"] == document(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"][0]["job_name"]
    )
    files = mounts("prometheus")
    path = Path(options("prometheus")["--config.file"])
    assert files[str(path)][0] == "./compose/prometheus.yml"
    for rules in given["rule_files"]:
        assert files[str(path.parent / rules)][0] == "./prometheus/alerts.yml"
    assert files[options("prometheus")["--storage.tsdb.path"]][1]


@pytest.mark.promtool
def test_promtool_takes_what_prometheus_is_given(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for mounted, (source, _) in mounts("prometheus").items():
        if source.startswith("."):
            shutil.copyfile(DEPLOY / source, tmp_path / Path(mounted).name)
    run = subprocess.run(
        [promtool, "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "rule files found" in run.stdout


def test_grafana_finds_its_figures_and_its_dashboard() -> None:
    files = mounts("grafana")
    provisioning = DEPLOY / files["/etc/grafana/provisioning"][0]
    [source] = document(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    address = urlsplit(source["url"])
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert address.hostname in SERVICES
    assert address.port in listening(str(address.hostname))
    assert address.hostname == interface("prometheus")
    [provider] = document(provisioning / "dashboards" / "files.yaml")["providers"]
    [mounted] = [path for path in files if path.startswith(f"{provider['options']['path']}/")]
    shown = document(DEPLOY / files[mounted][0])  # JSON is YAML
    assert shown["uid"] == "cds-broker"
    assert f"/d/{shown['uid']}" in (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    asked = {one["query"] for one in shown["templating"]["list"] if one["type"] == "datasource"}
    assert asked == {source["type"]}


# --- the image


def test_the_image_is_built_of_what_is_there_and_runs_as_nobody_in_particular() -> None:
    for service in OURS:
        build = SERVICES[service]["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
        assert SERVICES[service]["user"] == "10001:10001"
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
    assert re.findall(r"^USER (\S+)$", last, re.MULTILINE) == ["10001:10001"]
    assert f"CDS_DATA_DIR={environment('broker-1')['CDS_DATA_DIR']}" in last
    assert 'ENTRYPOINT ["cds-broker"]' in last
    [asked] = re.findall(r"^HEALTHCHECK .* CMD (.+)$", last, re.MULTILINE)
    assert asked == f'["python", "-m", "{healthcheck.__name__}"]'
    for name in ("ADD", "SHELL", "sudo", "curl", "latest"):
        assert not re.search(rf"\b{name}\b", DOCKERFILE), name


def test_what_containers_of_it_write_to_belongs_to_them() -> None:
    """A new volume takes its owner from what the image has at that place."""
    owned = {
        path
        for line in re.findall(
            r"install --directory --owner=cds --group=cds --mode=\d+ ([^\\\n]+)", DOCKERFILE
        )
        for path in line.split()
        if path.startswith("/")
    }
    for service in OURS:
        written = {path for path, (_, writes) in mounts(service).items() if writes}
        assert written <= owned, service


def test_settings_that_the_file_names_exist() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8") + PROXY
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", text)) <= {row.name for row in Settings.describe()}
