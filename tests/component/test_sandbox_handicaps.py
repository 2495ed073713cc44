"""Each handicap does what some real server does, and nothing else; and what `/metadata` says of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from adapters.clock import SystemClock
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.seed import seed_region
from broker.commands.sandbox import sandbox
from broker.core.search_parameters import PARAMETERS, TYPES
from tests.support.fake_clock import FakeClock
from tests.support.sandbox_http import Box, Json, Reply, boxed

SEED = seed_region("53", 12, clock=FakeClock())


async def searched(options: SandboxOptions, *pairs: tuple[str, str]) -> Reply:
    async with boxed(SEED, options=options, clock=FakeClock()) as box:
        return await box.search("CareTeam", *pairs)


async def test_entries_without_full_url_or_mode() -> None:
    plain = await searched(SandboxOptions())
    assert all({"fullUrl", "resource", "search"} == set(entry) for entry in plain.entries)
    assert all(
        {"resource", "search"} == set(e) for e in (await searched(SandboxOptions(no_full_url=True))).entries
    )
    assert all(
        {"fullUrl", "resource"} == set(e)
        for e in (await searched(SandboxOptions(no_search_mode=True))).entries
    )
    bare = await searched(SandboxOptions(no_full_url=True, no_search_mode=True))
    assert all({"resource"} == set(entry) for entry in bare.entries)


async def test_bundles_without_self_or_total() -> None:
    assert (await searched(SandboxOptions(no_self_link=True))).link("self") is None
    assert "total" not in (await searched(SandboxOptions(no_total=True))).json
    assert (await searched(SandboxOptions(no_total=True), ("_summary", "count"))).json["total"] == 12


async def test_id_last_and_uuid_versions() -> None:
    for entry in (await searched(SandboxOptions(id_last=True))).entries:
        assert list(entry["resource"])[-1] == "id"
    for entry in (await searched(SandboxOptions(uuid_versions=True))).entries:
        assert len(entry["resource"]["meta"]["versionId"]) == 36


async def test_silent_ignorance() -> None:
    chain = ("patient.gender", "male")
    expected = (await searched(SandboxOptions(), chain)).json["total"]
    assert 0 < expected < 12
    assert (await searched(SandboxOptions(chains_match_nothing=True), chain)).json["total"] == 0
    ignorant = SandboxOptions(ignored_params=frozenset({"patient"}))
    assert (await searched(ignorant, chain)).json["total"] == 12
    included = ("_include", "CareTeam:subject")
    assert (await searched(SandboxOptions(ignores_include=True), included)).ids("include") == []
    order = ("_sort", "_id")
    assert (await searched(SandboxOptions(ignores_sort=True), order)).ids() == (
        await searched(SandboxOptions())
    ).ids()
    assert (await searched(SandboxOptions(), order)).ids() != (await searched(SandboxOptions())).ids()
    trimmed = (await searched(SandboxOptions(ignores_elements=True), ("_elements", "name"))).entries[0][
        "resource"
    ]
    assert "participant" in trimmed


async def test_ignorance_is_silent_even_when_strictness_is_asked_for() -> None:
    options = SandboxOptions(ignored_params=frozenset({"status"}), ignores_sort=True)
    async with boxed(SEED, options=options) as box:
        headers = {"Prefer": "handling=strict"}
        reply = await box.get("CareTeam", ("status:not", "active"), ("_sort", "nothing"), headers=headers)
        assert (reply.status, reply.json["total"]) == (200, 12)


async def test_interactions_that_are_not_there() -> None:
    async with boxed(SEED, options=SandboxOptions(no_type_history=True, no_post_search=True)) as box:
        assert (await box.get("CareTeam/_history")).status == 404
        assert (await box.get("CareTeam/cercle-1/_history")).status == 200
        assert (await box.form("CareTeam/_search", ("status", "active"))).status == 405
        assert (await box.get("CareTeam", ("status", "active"))).status == 200


@pytest.mark.parametrize("handicap", ["relative_next_links", "getpages_links", "max_page"])
async def test_pages_can_still_be_followed(handicap: str) -> None:
    options = {
        "relative_next_links": SandboxOptions(relative_next_links=True),
        "getpages_links": SandboxOptions(getpages_links=True),
        "max_page": SandboxOptions(max_page=5),
    }[handicap]
    async with boxed(SEED, options=options) as box:
        first = await box.search("CareTeam", ("_count", "5" if handicap != "max_page" else "50"))
        link = first.link("next") or ""
        assert link.startswith(
            {
                "relative_next_links": "/fhir/CareTeam?_page=",
                "getpages_links": f"{box.base_url}?_getpages=",
                "max_page": f"{box.base_url}/CareTeam?_page=",
            }[handicap]
        )
        pages = await box.pages(first)
        assert [len(page.ids()) for page in pages] == [5, 5, 2]
        assert len({reference for page in pages for reference in page.ids()}) == 12


def rest(reply: Reply) -> Json:
    (only,) = reply.json["rest"]
    assert isinstance(only, dict)
    return only


async def resources(box: Box) -> dict[str, Any]:
    return {resource["type"]: resource for resource in rest(await box.get("metadata"))["resource"]}


async def test_the_statement_says_what_is_offered() -> None:
    async with boxed() as box:
        reply = await box.get("metadata")
        assert reply.json["kind"] == "instance"
        assert reply.json["instantiates"] == [
            "https://interop.esante.gouv.fr/ig/fhir/cds/CapabilityStatement/CDSGestionnaire"
        ]
        assert reply.json["implementation"]["url"] == box.base_url
        declared = await resources(box)
        assert set(declared) == set(TYPES)
        for kind, resource in declared.items():
            names = {parameter["name"] for parameter in resource["searchParam"]}
            assert names == set(PARAMETERS[kind])
            for name in names:
                strict = {"Prefer": "handling=strict"}
                assert (await box.get(kind, (f"{name}:missing", "true"), headers=strict)).status == 200
            for include in resource["searchInclude"]:
                assert (
                    await box.get(kind, ("_include", include), headers={"Prefer": "handling=strict"})
                ).status == 200
        interactions = {i["code"] for i in declared["CareTeam"]["interaction"]}
        assert interactions == {
            "create", "read", "vread", "update", "history-instance", "history-type", "search-type",
        }  # fmt: skip


async def test_the_statement_admits_handicaps_unless_told_to_lie() -> None:
    handicaps = {
        "no_type_history": True,
        "ignores_include": True,
        "ignored_params": frozenset({"start"}),
    }
    async with boxed(options=SandboxOptions(**handicaps)) as box:  # type: ignore[arg-type]
        circle = (await resources(box))["CareTeam"]
        assert "searchInclude" not in circle
        assert "start" not in {parameter["name"] for parameter in circle["searchParam"]}
        assert {"code": "history-type"} not in circle["interaction"]
    async with boxed(options=SandboxOptions(lying_statement=True, **handicaps)) as box:  # type: ignore[arg-type]
        circle = (await resources(box))["CareTeam"]
        assert "CareTeam:subject" in circle["searchInclude"]
        assert "start" in {parameter["name"] for parameter in circle["searchParam"]}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_and_stops_at_a_signal(sent: signal.Signals) -> None:
    program = "import typer; from broker.commands.sandbox import sandbox; typer.run(sandbox)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "--port", "0", "--region", "94", "--seed", "3",
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert "Corse" in line
        assert "3 circles" in line
        process.send_signal(sent)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_ten_thousand_resources_answer_quickly() -> None:
    circles = seed_region("32", 2500, clock=SystemClock())
    assert len(circles) > 8000
    async with boxed(circles) as box:
        for pairs, limit in (
            ([("identifier", "32-00777")], 0.2),
            ([("patient", "patient-777")], 0.2),
            ([("patient.family", "le goff"), ("_sort", "start")], 2.0),
            ([("participant:PractitionerRole.practitioner.name", "moreau")], 2.0),
        ):
            started = time.process_time()  # nothing is waited for, and other processes do not count
            assert (await box.search("CareTeam", *pairs)).json["total"] > 0
            assert time.process_time() - started < limit, pairs


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--region", "99"], 2),
        (["--seed", "no-such-file.json"], 1),
        (["--seed", "SEED"], 1),
    ],
)
def test_the_command_refuses_what_it_cannot_serve(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / "seed.json").write_text('[{"resourceType":"Basic","note":"secret"}]')
    app = typer.Typer()
    app.command()(sandbox)
    given = [str(tmp_path / "seed.json") if argument == "SEED" else argument for argument in arguments]
    result = CliRunner().invoke(app, ["--port", "0", *given])
    assert result.exit_code == code
    assert "secret" not in result.output
    assert "Traceback" not in result.output
