"""What the broker is made of, and what is known of that: what can be told without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(f"supply_{name}", ROOT / "deploy/supply" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SBOM, ADVISORIES = script("sbom"), script("advisories")
PINS: dict[str, str] = SBOM.pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))


@cache
def made() -> bytes:
    """By the script as it is run."""
    command = [sys.executable, str(ROOT / "deploy/supply/sbom.py"), "/dev/stdout"]
    run = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout[: run.stdout.rindex(b"}\n") + 2]


def bill() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made())
    return found


def test_every_runtime_dependency_is_listed_with_version_and_licence() -> None:
    listed = {one["name"]: one for one in bill()["components"]}
    declared = {canonicalize_name(Requirement(one).name) for one in PROJECT["dependencies"]}
    assert declared <= set(listed)
    assert {name: one["version"] for name, one in listed.items()} == {name: PINS[name] for name in listed}
    assert [name for name, one in listed.items() if not one.get("licenses")] == []
    # What those need is there too, and no tool of development.
    assert {"yarl", "pydantic-core", "cffi"} <= set(listed)
    assert {"pytest", "ruff", "mypy", "pip-audit"} & set(listed) == set()


def test_the_graph_is_closed() -> None:
    found = bill()
    refs = {one["bom-ref"] for one in found["components"]} | {found["metadata"]["component"]["bom-ref"]}
    edges = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert set(edges) == refs
    assert {to for targets in edges.values() for to in targets} <= refs
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", found["serialNumber"])


def test_no_address_is_in_it_but_the_schema() -> None:
    assert set(re.findall(rb"https?://[^\s\"]+", made())) == {
        b"http://cyclonedx.org/schema/bom-1.6.schema.json"
    }


def test_it_is_the_same_each_time() -> None:
    again = SBOM.bill(PROJECT, PINS)
    assert json.dumps(again, indent=2, ensure_ascii=False).encode() + b"\n" == made()


def test_what_is_installed_otherwise_than_pinned_is_said() -> None:
    with pytest.raises(ValueError, match=r"yarl \d"):
        SBOM.bill(PROJECT, PINS | {"yarl": "0.1"})


@pytest.mark.parametrize("extra", ["", "otel", "dev"])
def test_everything_that_is_installed_for_a_purpose_is_pinned(extra: str) -> None:
    """Down to the last need of a need."""
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    needed = SBOM.closure(declared)
    assert {name: package.version for name, (package, _) in needed.items()} == {
        name: PINS.get(name) for name in needed
    }


def test_the_tools_of_the_supply_chain_are_an_extra_of_their_own() -> None:
    tools = {canonicalize_name(Requirement(one).name) for one in PROJECT["optional-dependencies"]["supply"]}
    others = {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]}
    assert tools & {canonicalize_name(Requirement(one).name) for one in others} == set()
    assert tools <= set(PINS)


def test_the_rules_of_bandit_are_on() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [one for one in lint["ignore"] if one.startswith(("S1", "S3"))] == []
    loosened = [place for place, rules in lint["per-file-ignores"].items() if "S" in rules]
    assert loosened == ["tests/**"]


def audited(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


GOOD = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
BAD = {"name": "lxml", "version": "6.1.3", "vulns": [{"id": "CVE-2026-1"}, {"id": "CVE-2026-2"}]}
SKIPPED = {"name": "uvloop", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (audited(GOOD, GOOD), 0),
        (audited(GOOD, BAD), 1),
        (audited(BAD, SKIPPED), 1),
        (audited(GOOD, SKIPPED), 3),
        (audited(GOOD), 3),
        (audited(), 3),
        ("", 3),
        ("Traceback", 3),
        ("[]", 3),
        ("{}", 3),
    ],
)
def test_what_was_not_looked_up_is_never_called_good(output: str, code: int) -> None:
    found, said = ADVISORIES.verdict(output, 2)
    assert found == code
    assert said


def test_vulnerabilities_are_named() -> None:
    assert ADVISORIES.verdict(audited(BAD, GOOD), 2)[1] == ["lxml 6.1.3: CVE-2026-1, CVE-2026-2"]


def test_without_a_network_it_says_so() -> None:
    """The script as it is run, in an environment in which nobody can be asked."""
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    run = subprocess.run(
        [sys.executable, str(ROOT / "deploy/supply/advisories.py"), "--timeout", "1"],
        capture_output=True,
        text=True,
        env={**nowhere, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        check=False,
        timeout=100,
    )
    assert (run.returncode, run.stdout) == (3, "")
    assert "no advisories could be had" in run.stderr
