"""The settings of the trail of accesses: where it goes, and what happens where it cannot."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from broker.settings_fields import Seconds, doc

NOWHERE = "none"
SINKS = ("file", "log", "fhir")
_MIN_SECRET = 16


class AuditFailure(StrEnum):
    DENY = "deny"
    ALLOW = "allow"


class AuditFsync(StrEnum):
    ALWAYS = "always"
    SECOND = "second"
    NEVER = "never"


class AuditSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    audit: Annotated[
        str,
        doc(
            "where traces of accesses go, with commas: file, log (a topic), fhir (a repository, from the files)",
            "où vont les traces d'accès, séparés par des virgules : file, log (un sujet), fhir (un dépôt)",
        ),
    ] = "file"
    audit_failure: Annotated[
        AuditFailure,
        doc(
            "what a request gets where its trace cannot be written: deny (503) or allow",
            "ce qu'obtient une requête dont la trace ne peut être écrite : deny (503) ou allow",
        ),
    ] = AuditFailure.DENY
    audit_timeout: Annotated[
        Seconds,
        doc("seconds for a trace to be written", "secondes pour écrire une trace"),
    ] = 2.0
    audit_dir: Annotated[
        Path | None,
        doc("directory of the audit files; unset: CDS_DATA_DIR/audit", "dossier des fichiers de traces"),
    ] = None
    audit_file_bytes: Annotated[
        int,
        doc(
            "bytes after which a new audit file is begun, as it is each day",
            "octets après lesquels un nouveau fichier de traces commence, comme chaque jour",
            ge=65_536,
        ),
    ] = 67_108_864
    audit_fsync: Annotated[
        AuditFsync,
        doc(
            "when the disk is told to keep traces: always (before the answer), second or never",
            "quand le disque doit garder les traces : always (avant la réponse), second ou never",
        ),
    ] = AuditFsync.SECOND
    audit_secret: Annotated[
        SecretStr | None,
        doc(
            "secret of the chain of traces, 16 characters or more; unset: derived from that of the locator",
            "secret de la chaîne des traces, 16 caractères au moins ; sinon dérivé de celui de l'index",
        ),
    ] = None
    audit_secret_file: Annotated[
        Path | None, doc("file that holds that secret", "fichier qui contient ce secret")
    ] = None
    audit_topic_retention: Annotated[
        int,
        doc(
            "seconds for which the topic of traces keeps them; said when it is made",
            "secondes pendant lesquelles le sujet des traces les garde ; dit à sa création",
            ge=3_600,
        ),
    ] = 31_536_000
    audit_url: Annotated[
        str | None,
        doc("FHIR base of the audit repository (IHE ITI-20)", "adresse FHIR du dépôt de traces (IHE ITI-20)"),
    ] = None
    audit_token_file: Annotated[
        Path | None, doc("bearer token for it", "fichier du jeton à présenter au dépôt de traces")
    ] = None
    audit_tls_ca: Annotated[
        Path | None, doc("who vouches for it, PEM", "autorités du dépôt de traces, PEM")
    ] = None
    audit_tls_cert: Annotated[
        Path | None, doc("certificate shown to it, PEM", "certificat présenté au dépôt de traces, PEM")
    ] = None
    audit_tls_key: Annotated[
        Path | None, doc("key of that certificate, PEM", "clé de ce certificat, PEM")
    ] = None
    audit_spool: Annotated[
        int,
        doc(
            "traces that may wait for the repository before requests are refused",
            "traces qui peuvent attendre le dépôt avant que les requêtes ne soient refusées",
            ge=1,
        ),
    ] = 1_000_000

    @field_validator("audit_failure", "audit_fsync", mode="before")
    @classmethod
    def _lower_audit(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("audit")
    @classmethod
    def _audit_known(cls, value: str) -> str:
        named = sinks(value)
        if value.strip().lower() != NOWHERE and (not named or not set(named) <= set(SINKS)):
            raise PydanticCustomError("audit_sinks", "file, log and fhir, with commas")
        if "fhir" in named and "file" not in named:
            raise PydanticCustomError("audit_spooled", "fhir takes its records from the files: file,fhir")
        return ",".join(named) or NOWHERE

    @field_validator("audit_url")
    @classmethod
    def _audit_repository(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith(("http://", "https://")) or "?" in value):
            raise PydanticCustomError("public_url", "an absolute http(s) address without query")
        return None if value is None else value.rstrip("/")

    @field_validator("audit_secret")
    @classmethod
    def _audit_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _MIN_SECRET:
            raise PydanticCustomError("secret_too_short", "at least 16 characters")
        return value

    @model_validator(mode="after")
    def _audit_agrees(self) -> AuditSettings:
        if "fhir" in self.audit_sinks and self.audit_url is None:
            raise PydanticCustomError("audit_url", "CDS_AUDIT=fhir needs CDS_AUDIT_URL")
        if self.audit_secret is not None and self.audit_secret_file is not None:
            raise PydanticCustomError(
                "audit_secrets", "CDS_AUDIT_SECRET and CDS_AUDIT_SECRET_FILE exclude each other"
            )
        return self

    @property
    def audit_sinks(self) -> tuple[str, ...]:
        """Empty for `none`, which is for a machine's own use (`CDS_AUTH=none`)."""
        return sinks(self.audit)


def sinks(text: str) -> tuple[str, ...]:
    """Of `file, log`, in the order in which they are written to; empty for `none`."""
    named = {one.strip().lower() for one in text.split(",") if one.strip()} - {NOWHERE}
    return tuple(sorted(named, key=lambda one: SINKS.index(one) if one in SINKS else len(SINKS)))
