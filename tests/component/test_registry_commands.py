"""`cds-broker gestionnaires …` against a running broker's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.commands.gestionnaires import app
from broker.errors import FailureKind, ManagerError
from registry.model import Gestionnaire, Skills
from tests.support.registry_app import RegistryApp, registry_app, skilled

BRE = [
    "--id",
    "bre",
    "--name",
    "GCS e-Santé Bretagne",
    "--region",
    "53",
    "--base-url",
    "https://bre.example/fhir",
]
FILE = """
[[gestionnaire]]
id = "pdl"
name = "Pays de la Loire"
region = "52"
base_url = "https://pdl.example/fhir"
auth = { type = "bearer", token_env = "PDL_TOKEN" }
"""


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
async def api() -> AsyncIterator[RegistryApp]:
    async def checked(manager: Gestionnaire) -> Skills:
        if manager.id == "down":
            raise ManagerError(FailureKind.TIMEOUT)
        return await skilled(manager)

    async with registry_app(check=checked) as running:
        yield running


async def run(api: RegistryApp | None, *arguments: str, input: str | None = None) -> Result:  # noqa: A002
    where = [] if api is None else ["--url", api.url]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, [*arguments, *where], input=input))


async def run_json(api: RegistryApp, *arguments: str) -> Any:
    result = await run(api, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_from_add_to_remove(api: RegistryApp) -> None:
    assert (await run(api, "add", *BRE)).exit_code == 0
    result = await run(api, "list")
    assert result.exit_code == 0
    assert "GCS e-Santé Bretagne" in result.stdout
    assert "53 Bretagne" in result.stdout
    (listed,) = await run_json(api, "list", "--status", "active")
    assert listed["gestionnaire"]["base_url"] == "https://bre.example/fhir"

    (suspended,) = await run_json(api, "suspend", "bre")
    assert suspended["gestionnaire"]["status"] == "suspended"
    assert await run_json(api, "list", "--status", "active") == []
    (resumed,) = await run_json(api, "resume", "bre")
    assert resumed["revision"] == 3

    result = await run(api, "show", "bre")
    assert "https://bre.example/fhir" in result.stdout

    assert (await run(api, "remove", "bre", input="n\n")).exit_code == 1
    assert len(await run_json(api, "list")) == 1
    assert (await run(api, "remove", "bre", "--yes")).exit_code == 0
    assert await run_json(api, "list") == []


async def test_add_from_a_file(api: RegistryApp, tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(FILE)
    (added,) = await run_json(api, "add", "--file", str(path))
    assert added["gestionnaire"]["auth"] == {"type": "bearer", "token_env": "PDL_TOKEN"}
    again = await run(api, "add", "--file", str(path))
    assert again.exit_code == 1
    assert "already registered" in again.stderr
    path.write_text(FILE.replace("Pays de la Loire", "Nouveau nom"))
    (replaced,) = await run_json(api, "add", "--file", str(path), "--replace")
    assert replaced["gestionnaire"]["name"] == "Nouveau nom"
    path.write_text("[[gestionnaire]]\nid = 3")
    wrong = await run(api, "add", "--file", str(path))
    assert wrong.exit_code == 1
    assert "gestionnaire[0].base_url: required" in wrong.stderr


async def test_check_names_what_is_missing(api: RegistryApp) -> None:
    await run(api, "add", *BRE)
    result = await run(api, "check", "bre")
    assert result.exit_code == 0
    assert "bridged" in result.stdout
    shown = await run(api, "show", "bre")
    assert "bridged" in shown.stdout


async def test_check_of_all_goes_on_past_a_failure(api: RegistryApp) -> None:
    down = [part.replace("bre", "down") for part in BRE]
    await run(api, "add", *down)
    await run(api, "add", *BRE)
    result = await run(api, "check", "--all", "--json")
    assert result.exit_code == 1
    bre, failed = json.loads(result.stdout)
    assert bre["skills"]["chaining"] is False
    assert "did not answer in time" in failed["error"]["en"]
    assert (await run(api, "check", "--all")).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["add"],
        ["add", "--id", "bre"],
        ["add", "--file", "x.toml", "--id", "bre"],
        ["check"],
        ["check", "bre", "--all"],
        ["show"],
        ["list", "--colour", "red"],
    ],
)
async def test_wrong_use_exits_2(arguments: list[str]) -> None:
    assert (await run(None, *arguments)).exit_code == 2


async def test_what_the_broker_refuses_is_said(api: RegistryApp) -> None:
    result = await run(api, "show", "nobody")
    assert (result.exit_code, result.stderr.strip()) == (1, "Unknown manager: nobody.")
    wrong = await run(api, "add", *BRE[:-1], "ftp://x")
    assert wrong.exit_code == 1
    assert "base_url: expected an absolute http(s) address" in wrong.stderr
    assert "Traceback" not in wrong.output


async def test_no_broker_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    result = await run(None, "list", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "start one with `cds-broker serve`" in result.stderr
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    monkeypatch.setenv("CDS_URL", "http://127.0.0.1:1")
    assert "Aucun courtier ne répond" in (await run(None, "list")).stderr
    assert (await run(None, "list", "--url", "nowhere")).exit_code == 1


async def test_every_command_shows_an_example() -> None:
    for command in ("list", "add", "show", "suspend", "resume", "remove", "check"):
        result = await run(None, command, "--help")
        assert result.exit_code == 0
        assert f"cds-broker gestionnaires {command}" in " ".join(result.stdout.split())
