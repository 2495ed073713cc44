"""The demonstration's federation: managers as processes, an embedded store, the broker in this process.

Everything is temporary and ends with the context. The broker is told of its managers by its own API.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from adapters.embedded_valkey import EmbeddedValkey
from broker.commands.api_client import ApiClient
from broker.commands.demo_cast import CAST, REPLICATED, REVISED, TWICE, Resource, Role, replica, second_circle
from broker.commands.demo_manager import ManagerSpec, Started
from broker.commands.terminal import cannot_listen
from broker.errors import BrokerError
from broker.settings import AuthMode, Settings
from broker.wiring import listening_socket, running_broker

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_CHECK_SECONDS = 120.0
_LINE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class DemoManager:
    """A manager that runs. It can be made to hang, and to go on."""

    role: Role
    base_url: str
    process: asyncio.subprocess.Process

    @property
    def slug(self) -> str:
        return self.role.slug

    @property
    def pid(self) -> int:
        return self.process.pid

    def hang(self) -> None:
        """As a machine does that accepts connections and never answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Demo:
    """`base_url`: the broker's FHIR base. `managers` in the order of the cast: the first is home of the replica."""

    base_url: str
    settings: Settings
    managers: Sequence[DemoManager]
    redis_url: str = field(repr=False)

    @property
    def url(self) -> str:
        return self.base_url.removesuffix("/fhir")


Tell = Callable[[str, str], None]
"""Hears what is being done, in French and in English."""


@asynccontextmanager
async def running_demo(
    managers: int,
    *,
    port: int,
    tell: Tell,
    deadline: float | None = None,
    probe_interval: float | None = None,
) -> AsyncIterator[Demo]:
    """Raises `ConfigurationError` where the port is taken, `BrokerError` where a part does not start."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-demo-")))
        settings = _settings(port, directory, search_deadline=deadline, probe_interval=probe_interval)
        try:
            listener = listening_socket(settings)  # first of all: a taken port is said at once
        except OSError as error:
            raise cannot_listen(settings.host, port, error) from error
        stack.callback(listener.close)
        store = EmbeddedValkey(settings.data_dir)
        stack.callback(store.stop)
        redis_url = store.start()
        started = await _start_all(stack, CAST[:managers], listener.getsockname()[1], tell)
        broker = await stack.enter_async_context(
            running_broker(settings, redis_url=redis_url, secret=secrets.token_bytes(32), listener=listener)
        )
        tell("Le courtier examine ce que chacun sait faire.", "The broker finds out what each can do.")
        await _register(broker.base_url.removesuffix("/fhir"), started)
        yield Demo(broker.base_url, broker.settings, started, redis_url)


def _settings(port: int, directory: Path, **given: float | None) -> Settings:
    # The demonstration is the same everywhere: what is set for a real broker on this machine has no say in it.
    for name in [name for name in os.environ if name.startswith("CDS_")]:
        del os.environ[name]
    return Settings.load(port=port, data_dir=directory, auth=AuthMode.NONE, host="127.0.0.1", **given)


async def _start_all(
    stack: AsyncExitStack, roles: Sequence[Role], port: int, tell: Tell
) -> list[DemoManager]:
    """The first before the others: they hold copies of what is its own. `port`: the broker's."""
    tell(f"{len(roles)} gestionnaires démarrent.", f"{len(roles)} managers are starting.")
    home = await _start(stack, roles[0], port, ())
    copied = await _circle(home, REPLICATED)
    person = await _circle(home, TWICE)
    extra: dict[str, list[Resource]] = {role.slug: [] for role in roles}
    extra[roles[-1].slug] += replica(copied, home=home.base_url, slug=home.slug)
    second = roles[1]
    identifier = {
        "system": f"https://gestionnaire-{second.region}.example/cercle",
        "value": f"{second.region}-90001",
    }
    extra[second.slug] += second_circle(person, slug=home.slug, identifier=identifier)
    others = await asyncio.gather(*(_start(stack, role, port, extra[role.slug]) for role in roles[1:]))
    started = [home, *others]
    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(_revise(http, one) for one in started))
    return started


async def _start(stack: AsyncExitStack, role: Role, port: int, extra: Sequence[Resource]) -> DemoManager:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "broker.commands.demo_manager",
        role.slug,  # these two are for people: `pgrep -f 'demo_manager bre 8080'` finds this one
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
        start_new_session=True,  # Ctrl-C is for the demonstration, which ends them in order
    )
    stack.push_async_callback(_end, process)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without the pipes that were asked for")
    spec = ManagerSpec(role.region, role.circles, dict(role.options), tuple(extra))
    process.stdin.write(msgspec.json.encode(spec) + b"\n")
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
        return DemoManager(role, msgspec.json.decode(line, type=Started).base_url, process)
    except (TimeoutError, OSError, msgspec.DecodeError) as error:
        raise BrokerError("demo.not-started", slug=role.slug) from error


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # it may be hanging
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.communicate()  # closes its pipes, and waits


async def _circle(manager: DemoManager, circle: str) -> list[Resource]:
    """A circle with everybody in it."""
    query = {"_id": circle, "_include": "*", "_include:iterate": "*", "_count": "100"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{manager.base_url}/CareTeam", params=query, raise_for_status=True) as answer,
    ):
        bundle = await answer.json(content_type=None)
    return [entry["resource"] for entry in bundle["entry"]]


async def _revise(http: aiohttp.ClientSession, manager: DemoManager) -> None:
    """Give a circle a second version, so that there is a history to look at."""
    url = f"{manager.base_url}/CareTeam/{REVISED}"
    async with http.get(url, raise_for_status=True) as answer:
        circle = await answer.json(content_type=None)
    circle["name"] += " (revu)"
    headers = {"Content-Type": "application/fhir+json"}
    async with http.put(url, json=circle, headers=headers, raise_for_status=True):
        pass


async def _register(url: str, managers: Sequence[DemoManager]) -> None:
    async with ApiClient(url) as api:

        async def one(manager: DemoManager) -> None:
            role = manager.role
            declared: dict[str, Any] = {
                "id": role.slug,
                "name": role.name,
                "region": role.region,
                "base_url": manager.base_url,
                "territory": list(role.territory),
            }
            await api.call("POST", "/registry/gestionnaires", body=declared)
            await api.call("POST", f"/registry/gestionnaires/{role.slug}/check", seconds=_CHECK_SECONDS)

        await asyncio.gather(*map(one, managers))
