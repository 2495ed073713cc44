"""The command line's root: help, version, and errors as one sentence with the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import broker.__main__ as root
from broker import __version__
from broker.errors import BrokerError, StoreError
from broker.settings import Settings


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("CDS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cds-broker", *arguments])
    with pytest.raises(SystemExit) as ended:
        root.main()
    return int(ended.value.code or 0)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"cds-broker {__version__}\n"


def test_the_version_waits_for_no_imports() -> None:
    script = (
        "import sys\nfrom broker.__main__ import main\ntry:\n    main()\nfinally:\n    print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    version, _, imported = done.stdout.partition("\n")
    assert version == f"cds-broker {__version__}"
    assert "broker.__main__" in imported.split()
    assert not {"aiohttp", "redis", "pydantic", "broker.wiring"} & {*imported.split()}


def test_the_commands_are_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    there = ("serve", "demo", "sandbox", "gestionnaires", "locator", "sync", "search", "explain", "audit")
    for command in there:
        assert f" {command} " in shown


@pytest.mark.parametrize("command", ["serve", "demo", "sandbox", "search", "explain"])
def test_every_command_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert f"cds-broker {command}" in capsys.readouterr().out.partition("Example")[2]


def test_serve_lists_every_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "serve", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())  # long ones go on in the next line
    for row in Settings.describe():
        assert f" {row.name} {row.en}" in shown, row.name


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--colour"], ["demo", "--managers", "1"]])
def test_wrong_use_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "missing"),
    [("oidc", ("CDS_OIDC_ISSUER", "CDS_OIDC_AUDIENCE")), ("mtls", ("CDS_CLIENTS", "CDS_TLS_CLIENT_CA"))],
)
def test_access_control_that_is_not_set_up_is_not_pretended(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    mode: str,
    missing: tuple[str, ...],
) -> None:
    monkeypatch.setenv("CDS_AUTH", mode)
    assert run(monkeypatch, "serve", "--port", "0") == 2
    said = capsys.readouterr().err
    assert all(name in said for name in (*missing, "CDS_AUTH=none"))
    assert not list(tmp_path.iterdir()), "it began to set itself up"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--host", "0.0.0.0"], "loopback"),
        (["--workers", "0"], "CDS_WORKERS"),
        (["--config", "/nonexistent.toml"], "CDS_CONFIG"),
    ],
)
def test_wrong_configuration_is_one_sentence_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    monkeypatch.setenv("CDS_AUTH", "none")
    assert run(monkeypatch, "serve", "--port", "0", *arguments) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert named in said[0]


@pytest.mark.parametrize(
    ("locale", "said"),
    [("fr_FR.UTF-8", "Le registre est indisponible."), ("C.UTF-8", "The registry is unavailable.")],
)
def test_errors_speak_the_language_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], locale: str, said: str
) -> None:
    def fails(_settings: Settings) -> int:
        raise StoreError("federation.store")

    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setattr("broker.commands.serve.served", fails)
    assert run(monkeypatch, "serve") == 1
    assert capsys.readouterr().err == f"cds-broker: {said}\n"


def test_a_defect_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_settings: Settings) -> int:
        raise KeyError("295109912611193")

    monkeypatch.setattr("broker.commands.serve.served", fails)
    assert run(monkeypatch, "serve") == 1
    assert capsys.readouterr().err == "cds-broker: internal error (KeyError).\n"


def test_an_error_without_a_text_is_an_internal_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_settings: Settings) -> int:
        raise BrokerError("no-such-key")

    monkeypatch.setattr("broker.commands.serve.served", fails)
    assert run(monkeypatch, "serve") == 1
    assert capsys.readouterr().err == "cds-broker: Internal error.\n"
