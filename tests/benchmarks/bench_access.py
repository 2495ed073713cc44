"""What it costs a search to know who asks, whether they may, and to keep the trace of it.

Two workers of the same broker over the same canned managers take turns, round by round: one under `CDS_AUTH=none` with
`CDS_AUDIT=none`, the other under `oidc` with its trail in files, asked with one token whose signature, key and claims it
has looked at (that is kept for a minute, so every minute it looks again). Each circle is another person's: a search of 13
leaves 13 AuditEvents. A third worker, open and with a trail, tells the two apart.

Run with `python -m tests.benchmarks.bench_access` (`--quick`: fewer rounds).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from rich.console import Console

from adapters.embedded_valkey import EmbeddedValkey
from broker.commands.terminal import run as run_loop
from tests.benchmarks.bench_search import FULL, QUICK, Case, Effort, OnCase, Outcome, Side, _port, measure
from tests.benchmarks.canned_located import person
from tests.benchmarks.canned_managers import FORMS, MANAGERS
from tests.benchmarks.children import Child, child
from tests.benchmarks.load import Target, closed_loop, request
from tests.support.issuer import AUDIENCE, Issuer, issuer
from tests.support.waiting import until

LIMIT_MS = 0.3
"""CPU of authentication, authorisation and audit together, at most."""

HOLDER = 4
"""The manager that holds the person's circle."""

_BENCH = "tests.benchmarks"
_LASTS = 7_200  # seconds that the token is good


@dataclass(frozen=True, slots=True)
class Guarded:
    """`outcomes`: under guard (`ours`) against open (`theirs`). `records`: AuditEvents of one search, by case."""

    outcomes: list[Outcome]
    records: dict[str, float]


@dataclass(slots=True)
class Stage:
    stack: ExitStack
    redis: str
    directory: str
    issuer: Issuer
    token: str
    names: list[str] = field(default_factory=list)

    async def broker(self, bases: Sequence[str], *, locator: bool, **settings: Any) -> Child:
        """Started beside the loop, which the issuer answers in."""
        name = f"access{len(self.names)}"
        self.names.append(name)
        argument = {
            "redis": self.redis,
            "prefix": name,
            "bases": bases,
            "data_dir": str(Path(self.directory) / name),
            "locator": locator,
            "sync": False,
            "settings": settings,
        }
        made = Child(f"{_BENCH}.broker_worker", argument)
        self.stack.callback(made.end)
        await asyncio.to_thread(lambda: made.started)
        if locator:
            await until(lambda: self._is_covered(made), seconds=60.0)
        return made

    @property
    def guard(self) -> dict[str, Any]:
        return {
            "auth": "oidc",
            "oidc_issuer": self.issuer.url,
            "oidc_audience": AUDIENCE,
            "oidc_networks": "127.0.0.0/8",
            "manager_networks": "127.0.0.0/8",
            "metrics_open": True,
        }

    def searched(self, broker: Child, body: bytes) -> Target:
        """With the token, which a broker that asks for none does not look at."""
        plain = request("POST", "/fhir/CareTeam/_search", _port(broker), body=body)
        head, _, rest = plain.request.partition(b"\r\n")
        return Target(plain.port, b"\r\n".join([head, b"Authorization: Bearer " + self.token.encode(), rest]))

    async def _is_covered(self, broker: Child) -> bool:
        address = f"http://127.0.0.1:{_port(broker)}/registry/locator"
        headers = {"Authorization": f"Bearer {self.token}"}
        async with aiohttp.ClientSession(headers=headers) as http, http.get(address) as response:
            if response.status != 200:
                return False
            states = [one["state"] for one in (await response.json())["managers"]]
        return states == ["complete"] * MANAGERS


async def run(effort: Effort, on_case: OnCase) -> Guarded:
    """Every case. `on_case` hears its name as it begins."""
    on_case("starting an issuer, managers and brokers")
    async with issuer() as one:
        with ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
            valkey = EmbeddedValkey(Path(directory))
            redis = valkey.start()
            stack.callback(valkey.stop)
            token = one.token(exp=int(time.time()) + _LASTS)
            on = Stage(stack, redis, directory, one, token)
            located = urlencode({"patient.identifier": person(HOLDER)}).encode()
            everybody = urlencode(FORMS[1]).encode()
            searched = stack.enter_context(child(f"{_BENCH}.canned_managers", {"circles": 1}))
            covered = stack.enter_context(child(f"{_BENCH}.canned_located", {}))
            parts = [
                await _cases(on, "located search, one holder", covered, located, locator=True, share=4.0)
            ]
            if not effort.smoke:
                name = f"search of {MANAGERS} managers"
                parts.append(await _cases(on, name, searched, everybody, locator=False, share=1.0))
            records = {name: await _records(guarded, target) for name, _, guarded, target in parts}
            outcomes = [
                await measure(case, effort, on_case)
                for _, cases, _, _ in parts
                for case in effort.some(cases)
            ]
    return Guarded(outcomes, records)


async def _cases(
    on: Stage, name: str, managers: Child, body: bytes, *, locator: bool, share: float
) -> tuple[str, list[Case], Child, Target]:
    bases = managers.started["bases"]
    plain = await on.broker(bases, locator=locator)
    traced = await on.broker(bases, locator=locator, audit="file", **on.guard)
    told = await on.broker(bases, locator=locator, audit="file")

    def side(kind: str, broker: Child) -> Side:
        return Side(kind, broker, on.searched(broker, body))

    open_to_all, guarded = side("open", plain), side("oidc, audit", traced)
    cases = [
        Case(name, guarded, open_to_all, 1, share),
        Case(name, guarded, open_to_all, 16, share),
        Case(f"{name}: the audit alone", side("audit", told), open_to_all, 1, share),
    ]
    return name, cases, traced, guarded.target


async def _records(broker: Child, target: Target) -> float:
    """AuditEvents of one search, as the broker counts them."""
    before = await _written(broker)
    await closed_loop(target, connections=1, requests=10)
    await until(lambda: _grew(broker, before), seconds=5.0)
    return (await _written(broker) - before) / 10


async def _grew(broker: Child, before: float) -> bool:
    return await _written(broker) > before


async def _written(broker: Child) -> float:
    address = f"http://127.0.0.1:{_port(broker)}/metrics"
    async with aiohttp.ClientSession() as http, http.get(address) as response:
        page = await response.text()
    return next(
        float(line.split()[1]) for line in page.splitlines() if line.startswith("cds_audit_records_total")
    )


def note(guarded: Guarded) -> str:
    """What the tables do not say."""
    added = "; ".join(
        f"{one.case}, {one.connections} client{'s' if one.connections > 1 else ''}: "
        f"{one.ours.cpu_ms - one.theirs.cpu_ms:.2f} ms "
        f"({one.ours.cpu_min_ms - one.theirs.cpu_min_ms:.2f} in the calmest rounds)"
        for one in guarded.outcomes
    )
    traces = "; ".join(f"{name}: {count:.0f}" for name, count in guarded.records.items())
    return (
        f"CPU added to a search: {added}. AuditEvents of one: {traces}. Goal: at most {LIMIT_MS} ms for authentication, "
        "authorisation and audit together."
    )


def main() -> None:
    from tests.benchmarks.report import search_tables

    console = Console()
    effort = QUICK if "--quick" in sys.argv else FULL
    guarded = run_loop(run(effort, lambda name: console.print(f"{name} …", style="dim")))
    for table in search_tables(guarded.outcomes):
        console.print(table)
    console.print(note(guarded))


if __name__ == "__main__":
    main()
