"""Where traces may go, as the settings say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.core.audit.chain import ChainKey
from broker.errors import ConfigurationError
from broker.locator_secret import audit_secrets
from broker.settings import Settings


@pytest.mark.parametrize(
    ("given", "expected"),
    [("file", ("file",)), ("LOG, file", ("file", "log")), ("fhir,file", ("file", "fhir")), ("none", ())],
)
def test_sinks_are_named_in_any_order(given: str, expected: tuple[str, ...]) -> None:
    assert (
        Settings.load(auth="none", audit=given, audit_url="https://atna.example/fhir").audit_sinks == expected
    )


def test_the_default_is_files() -> None:
    assert Settings.load(auth="none").audit_sinks == ("file",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"audit": "syslog"},
        {"audit": "file,syslog"},
        {"audit": "fhir", "audit_url": "https://atna.example/fhir"},
        {"audit": "file,fhir"},
        {"audit_url": "atna.example"},
        {"audit_secret": "short"},
        {"audit_secret": "long enough, sixteen", "audit_secret_file": "f"},
        {"audit_failure": "ignore"},
        {"audit_fsync": "sometimes"},
        {"audit_file_bytes": 1},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Settings.load(auth="none", **wrong)


def test_nothing_is_traced_nowhere_where_others_can_come() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load(
            auth="oidc", audit="none", oidc_issuer="https://i.example", oidc_audience="a", host="127.0.0.1"
        )
    assert "CDS_AUDIT=none" in str(refused.value.params["problems_en"])


def test_the_chain_has_a_key_of_its_own(tmp_path: Path) -> None:
    locator = (b"the locator's secret", b"the one before it")
    assert audit_secrets(Settings.load(auth="none"), locator) == locator
    file = tmp_path / "secret"
    file.write_text("a secret of the audit\n")
    given = audit_secrets(Settings.load(auth="none", audit_secret_file=file), locator)
    assert given == (b"a secret of the audit", *locator)
    assert ChainKey.of(given[0]).id != ChainKey.of(locator[0]).id
    with pytest.raises(ConfigurationError) as refused:
        audit_secrets(Settings.load(auth="none", audit_secret_file=tmp_path / "none"), locator)
    assert refused.value.params["setting"] == "CDS_AUDIT_SECRET_FILE"
