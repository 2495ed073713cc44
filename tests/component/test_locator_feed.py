"""The index fed by a running broker, over real HTTP and a real Valkey; its API and its commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner, Result

from adapters.clock import SystemClock
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.store import Store
from broker.commands.locator import app
from broker.core.search_parameters import PARAMETERS
from tests.support.federation import Broker, federation, ids
from tests.support.fhir_builders import INS_TEST, care_team, patient
from tests.support.locator_broker import QUICK, api, fill, fresh, line, located, write
from tests.support.recorded_sandbox import RecordedSandbox, recorded_sandbox
from tests.support.valkey import Valkey
from tests.support.waiting import until


@asynccontextmanager
async def two_regions(valkey: Valkey) -> AsyncIterator[tuple[Broker, RecordedSandbox, RecordedSandbox]]:
    """`bre` holds persons 0 to 39, `occ` persons 30 to 59."""
    bre, occ = (
        Store(SystemClock(), SandboxOptions(max_page=15)),
        Store(SystemClock(), SandboxOptions(no_type_history=True)),
    )
    fill(bre, range(40))
    fill(occ, range(30, 60))
    async with recorded_sandbox(bre) as one, recorded_sandbox(occ) as other:
        managers = (
            one.gestionnaire("bre"),
            other.gestionnaire("occ", region="76", dialect={"history_type": False, **_able()}),
        )
        async with federation(valkey, *managers, **QUICK) as broker:
            yield broker, one, other


def _able() -> dict[str, bool]:
    skills = ("sort", "post_search", "include", "chaining", "paging", "total")
    params = [f"param:{kind}:{name}" for kind, names in PARAMETERS.items() for name in names]
    return dict.fromkeys((*skills, *params), True)


async def test_it_begins_by_itself_and_asks_only_holders(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, _, occ):
        await fresh(broker, "bre", "occ")
        assert await located(broker, 5) == ["bre"]
        assert await located(broker, 35) == ["bre", "occ"]
        assert await located(broker, 55) == ["occ"]
        assert await located(broker, "nobody") == []
        occ.asked.clear()
        found = await broker.post("CareTeam/_search", {"patient.identifier": f"{INS_TEST}|ins7"})
        assert ids(found.json) == ["bre.c7"]
        assert not [asked for asked in occ.asked if "patient.identifier" in asked[1]]


async def test_changes_are_followed(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, bre, occ):
        await fresh(broker, "bre", "occ")
        write(bre.store, patient("new", ins="insnew"), care_team("new", subject="Patient/new"))
        write(occ.store, patient("p59", ins="insother"))
        bre.store.delete("CareTeam", "c7")
        await fresh(broker, "bre", "occ")
        assert await located(broker, "new") == ["bre"]
        assert await located(broker, "other") == ["occ"]
        assert await located(broker, 59) == []
        assert await located(broker, 7) == []


async def test_the_api_tells_of_each_manager(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, _, _):
        await fresh(broker, "bre", "occ")
        bre, occ = await line(broker, "bre"), await line(broker, "occ")
        assert (bre["state"], bre["circles"], bre["total"], bre["problem"]) == ("complete", 40, 40, None)
        assert bre["since"] == bre["patients_since"] == "2025-01-01T00:00:39.000Z"
        assert bre["age"] < 5
        assert occ["problem"]["key"] == "locator.no-deletions"
        status, whole = await api(broker, "GET", "/registry/locator")
        assert (status, whole["circles"], whole["rotating"]) == (200, 70, False)
        (generation,) = whole["generations"]
        assert (generation["complete"], generation["managers"], generation["ours"]) == (2, 2, True)
        assert "ins" not in json.dumps(whole)


async def test_a_new_crawl_and_a_refill_by_the_api(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, _, _):
        await fresh(broker, "bre", "occ")
        before = await line(broker)
        status, _ = await api(broker, "POST", "/registry/locator/bre/crawl")
        assert status == 202
        await fresh(broker, "bre")
        assert (await line(broker))["started"] > before["started"]
        assert (await api(broker, "POST", "/registry/locator/nobody/crawl"))[0] == 404

        status, begun = await api(broker, "POST", "/registry/locator/rotate-key")
        assert (status, begun["rotating"], len(begun["generations"])) == (202, True, 2)

        async def done() -> bool:
            assert await located(broker, 5) == ["bre"], "the old one answers until the new one does"
            _, found = await api(broker, "GET", "/registry/locator")
            return all(one["filling"] in (None, "complete") for one in found["managers"])

        await until(done, seconds=30.0)


async def test_search_results_seen_in_passing_are_learnt(valkey: Valkey) -> None:
    store = Store(SystemClock())
    fill(store, range(3))
    async with recorded_sandbox(store) as bre:
        # Its feed is looked at once an hour: what is learnt meanwhile was seen in passing.
        settings = QUICK | {"locator_poll": 3600.0, "locator_freshness": 4000.0}
        async with federation(valkey, bre.gestionnaire(), **settings) as broker:
            await until(lambda: _complete(broker), seconds=20.0)
            write(store, patient("p9", ins="ins9"), care_team("c9", subject="Patient/p9"))
            assert await located(broker, 9) == []
            await broker.bundle("CareTeam?status=active&_include=CareTeam:subject")

            async def known() -> bool:
                return await located(broker, 9) == ["bre"]

            await until(known)


async def _complete(broker: Broker) -> bool:
    return bool((await line(broker))["state"] == "complete")


# --- the commands


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("NO_COLOR", "1")


async def command(broker: Broker | None, *arguments: str) -> Result:
    url = "http://127.0.0.1:9" if broker is None else broker.base_url.removesuffix("/fhir")
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, [*arguments, "--url", url]))


async def test_status_by_the_command(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, _, _):
        await fresh(broker, "bre", "occ")
        shown = await command(broker, "status")
        assert shown.exit_code == 0
        assert "40 / 40" in shown.stdout
        assert "Its deletions do not show" in shown.stdout
        as_json = await command(broker, "status", "--json")
        assert [one["id"] for one in json.loads(as_json.stdout)["managers"]] == ["bre", "occ"]


async def test_crawl_and_rotate_key_by_the_command(valkey: Valkey) -> None:
    async with two_regions(valkey) as (broker, _, occ):
        await fresh(broker, "bre", "occ")
        before = await line(broker)
        done = await command(broker, "crawl", "bre", "--json")
        assert done.exit_code == 0, done.output
        (bre, _) = json.loads(done.stdout)["managers"]
        assert bre["state"] == "complete"
        assert bre["started"] > before["started"]
        everybody = await command(broker, "crawl")
        assert everybody.exit_code == 0, everybody.output
        rotated = await command(broker, "rotate-key", "--json")
        assert rotated.exit_code == 0, rotated.output
        assert {one["filling"] or one["state"] for one in json.loads(rotated.stdout)["managers"]} == {
            "complete"
        }

        occ.status = lambda _: 500
        late = await command(broker, "crawl", "occ", "--patience", "1")
        assert late.exit_code == 1
        assert "Not done: occ." in late.stderr
        at_once = await command(broker, "crawl", "occ", "--no-wait")
        assert at_once.exit_code == 0
        unknown = await command(broker, "crawl", "nobody")
        assert unknown.exit_code == 1
    assert (await command(None, "status")).exit_code == 1
