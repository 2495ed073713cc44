"""How long the loop is busy at a stretch with what is large: nobody else is served meanwhile.

Large answers, one that is converted to XML, a transaction of the largest size that is taken, pages of a crawl, a hundred
managers. Each is asked for again and again by one client, then by four at once, with the loop watched (`watchdog`); the bare
servers pass the same bytes under the same watch, and what is long there is long on this machine.

Run with `python -m tests.benchmarks steps`.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from rich.console import Console

from adapters.embedded_valkey import EmbeddedValkey
from tests.benchmarks.bench_search import _port, _search, is_covered, stage
from tests.benchmarks.canned_managers import MANAGERS
from tests.benchmarks.canned_writes import circle
from tests.benchmarks.children import Child, child
from tests.benchmarks.comparing import Effort, OnCase
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Target, closed_loop, written
from tests.benchmarks.tables import table
from tests.benchmarks.watchdog import LIMIT_MS, Watched
from tests.support.replication import ins
from tests.support.waiting import until

HOME = 4
"""The manager that the transaction goes to."""

LARGEST = 2 * 2**20
"""Bytes of the largest request that is taken, by default."""

_BENCH = "tests.benchmarks"
_FHIR_JSON = "application/fhir+json"
_INS = "urn:oid:1.2.250.1.213.1.4.10"
_CRAWLED = 20_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """`kilobytes`: of the answer, or of the request that is large. `theirs`: of the bare server, where there is one."""

    case: str
    clients: int
    kilobytes: float
    p50_ms: float
    ours: Watched
    theirs: Watched | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    stretches: list[Stretch]

    @property
    def longest(self) -> Stretch:
        return max(self.stretches, key=lambda one: one.ours.step_ms)

    def figures(self) -> Iterator[Figure]:
        for one in self.stretches:
            yield Figure(f"{one.case}, {one.clients} clients: longest step", one.ours.step_ms, "ms")


@dataclass(frozen=True, slots=True)
class _Load:
    case: str
    ours: Child
    target: Target
    theirs: Child | None = None
    their_target: Target | None = None
    request_is_large: bool = False


async def run(effort: Effort, on_case: OnCase) -> Steps:
    """Every case. `on_case` hears its name as it begins."""
    done: list[Stretch] = []
    answers = ((f"{MANAGERS} × 44 KB", {"circles": 10}), *_more(effort))
    for name, given in answers:
        on_case(name)
        with stage(**given) as on:
            broker, bare = on.broker("steps", on.bases), on.bare()
            ours, theirs = _port(broker), int(bare.started["port"])
            count = ("_count", "200")
            loads = [_Load(name, broker, _full(ours, count), bare, _search(theirs, min(on.circles, 10)))]
            if not done:
                loads.append(_Load(f"{name}, as XML", broker, _as_xml(_full(ours, count))))
            done += [await _stretch(load, n, effort) for load in loads for n in effort.some((1, 4))]
    on_case("a transaction of the largest size")
    with _writing() as (broker, bare):
        port = _port(broker)
        size = LARGEST // (20 if effort.smoke else 1)
        await until(partial(is_covered, port), seconds=60.0)
        load = _Load(
            "transaction of 2 MB",
            broker,
            _transaction(port, f"reg{HOME:02}.", size),
            bare,
            _transaction(int(bare.started["port"]), "", size),
            request_is_large=True,
        )
        done.append(await _stretch(load, 1, effort))
    on_case("pages of a crawl")
    done.append(await _crawl(_CRAWLED // (40 if effort.smoke else 1)))
    return Steps(done)


def _more(effort: Effort) -> Sequence[tuple[str, dict[str, Any]]]:
    if effort.smoke:
        return ()
    return (
        (f"{MANAGERS} × 577 KB", {"circles": 130}),
        ("6 MiB of one manager", {"circles": 200, "managers": 1, "narrative": 6_600}),
        ("100 managers × 1 circle", {"circles": 1, "managers": 100}),
        ("100 managers × 44 KB", {"circles": 10, "managers": 100}),
    )


def _full(port: int, *more: tuple[str, str]) -> Target:
    form = [
        ("status", "active"),
        ("_include", "CareTeam:subject"),
        ("_include", "CareTeam:participant"),
        *more,
    ]
    body = urlencode(form).encode()
    return Target(port, written("POST", "/fhir/CareTeam/_search", port, body=body))


def _as_xml(target: Target) -> Target:
    made = target.request.replace(b"Accept: application/fhir+json", b"Accept: application/fhir+xml", 1)
    return Target(target.port, made)


async def _stretch(load: _Load, clients: int, effort: Effort) -> Stretch:
    requests = 2 if effort.smoke else max(10, effort.requests // 4)
    await closed_loop(load.target, connections=1, requests=2)
    load.ours.watch()
    run = await closed_loop(load.target, connections=clients, requests=requests)
    ours = load.ours.watched()
    theirs = None
    if load.theirs is not None and load.their_target is not None:
        await closed_loop(load.their_target, connections=1, requests=2)
        load.theirs.watch()
        await closed_loop(load.their_target, connections=clients, requests=requests)
        theirs = load.theirs.watched()
    assert run.body.startswith(b"<") == load.case.endswith("XML"), run.body[:200]
    large = load.target.request or (load.target.fresh() if load.target.fresh else b"")
    size = len(large) if load.request_is_large else len(run.body)
    middle = sorted(run.latencies)[len(run.latencies) // 2] * 1e3
    return Stretch(load.case, clients, size / 1e3, middle, ours, theirs)


# --- a transaction


@contextmanager
def _writing() -> Iterator[tuple[Child, Child]]:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cds-bench-"))
        managers = stack.enter_context(child(f"{_BENCH}.canned_writes", {}))
        valkey = EmbeddedValkey(Path(directory))
        redis = valkey.start()
        stack.callback(valkey.stop)
        bases = managers.started["bases"]
        argument = {
            "redis": redis,
            "prefix": "large",
            "bases": bases,
            "data_dir": directory,
            "locator": True,
            "sync": False,
            # Whatever the machine is busy with, it is to be answered.
            "settings": {"write_deadline": 30.0},
            "patience": 25.0,
        }
        broker = stack.enter_context(child(f"{_BENCH}.broker_worker", argument))
        bare = stack.enter_context(child(f"{_BENCH}.bare_proxy", {"base": bases[HOME]}))
        yield broker, bare


def _transaction(port: int, prefix: str, size: int) -> Target:
    """A circle, its Patient, and as many relatives as there is room for; of other people each time."""
    numbers = itertools.count(1)

    def fresh() -> bytes:
        body = transaction(next(numbers), prefix, size)
        made = written("POST", "/fhir", port, body=body, content_type=_FHIR_JSON)
        return made.replace(b"\r\n", f"\r\nX-Gestionnaire: reg{HOME:02}\r\n".encode(), 1)

    return Target(port, fresh=fresh)


def transaction(number: int, prefix: str, size: int = LARGEST) -> bytes:
    """Of at most `size` bytes, and little less."""
    patient, team = f"urn:uuid:{_uuid(number, 0)}", f"urn:uuid:{_uuid(number, 1)}"
    person: dict[str, Any] = {
        "resourceType": "Patient",
        "identifier": [{"system": _INS, "value": ins(number)}],
        "name": [{"family": "EXEMPLE", "given": ["Anne"]}],
        "address": [{"postalCode": "35000"}],
    }
    made = circle(f"t{number}", prefix) | {"subject": {"reference": patient}}
    entries = [_entry(team, made), _entry(patient, person)]
    one = _entry(f"urn:uuid:{_uuid(number, 2)}", _relative(patient, 0))
    left = size - len(orjson.dumps(_bundle(entries)))
    room = left // (len(orjson.dumps(one)) + 8)
    entries += [_entry(f"urn:uuid:{_uuid(number, 2 + n)}", _relative(patient, n)) for n in range(room)]
    return orjson.dumps(_bundle(entries))


def _bundle(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _entry(full_url: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "fullUrl": full_url,
        "request": {"method": "POST", "url": resource["resourceType"]},
        "resource": resource,
    }


def _relative(patient: str, number: int) -> dict[str, Any]:
    mos = "https://mos.esante.gouv.fr/NOS/"
    return {
        "resourceType": "RelatedPerson",
        "identifier": [{"system": "https://cds.example/relatives", "value": f"r{number:07}"}],
        "patient": {"reference": patient},
        "relationship": [
            {
                "coding": [
                    {"system": f"{mos}TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass", "code": "CAREGIVER"}
                ]
            }
        ],
        "name": [{"use": "usual", "family": "MODÈLE", "given": ["Paul"]}],
        "telecom": [{"system": "phone", "value": f"06{number:08}"}],
    }


def _uuid(number: int, index: int) -> str:
    return f"0c3151bd-1cbf-4d64-{number % 65_536:04x}-{index:012x}"


# --- a crawl


async def _crawl(circles: int) -> Stretch:
    """Of one manager, in pages of 500."""
    from tests.benchmarks.bench_crawl import crawled

    async with crawled(circles) as (broker, done):
        broker.watch()
        await until(done, seconds=300.0)
        return Stretch(f"crawl of {circles:,} circles", 1, 0.0, 0.0, broker.watched())


def show(steps: Steps, console: Console) -> None:
    shown = table(
        "The longest steps, ms", "", "clients", "KB", "p50", "step", "turn", "bare: step", "over 20"
    )
    for one in steps.stretches:
        shown.add_row(
            one.case,
            str(one.clients),
            f"{one.kilobytes:,.0f}" if one.kilobytes else "",
            f"{one.p50_ms:.0f}" if one.p50_ms else "",
            f"{one.ours.step_ms:.1f}",
            f"{one.ours.turn_ms:.1f}",
            "" if one.theirs is None else f"{one.theirs.step_ms:.1f}",
            f"{one.ours.over_20} of {one.ours.steps}",
        )
    shown.caption = (
        f"Goal: no step over {LIMIT_MS:.0f} ms. Turn: all that the loop does at a stretch, several steps."
    )
    console.print(shown)
    for one in steps.stretches:
        if one.ours.step_ms > LIMIT_MS:
            where = f"{one.case}, {one.clients} clients: {one.ours.step_ms:.0f} ms in {one.ours.step}: {one.ours.told}"
            console.print(where, style="dim", highlight=False, markup=False)
