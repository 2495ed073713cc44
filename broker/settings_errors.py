"""What is wrong with settings, said to the operator in French and English."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from broker.errors import ConfigurationError

_FRENCH: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "float_parsing": lambda _: "un nombre est attendu",
    "float_type": lambda _: "un nombre est attendu",
    "finite_number": lambda _: "un nombre fini est attendu",
    "int_parsing": lambda _: "un entier est attendu",
    "int_type": lambda _: "un entier est attendu",
    "int_from_float": lambda _: "un entier est attendu",
    "string_type": lambda _: "un texte est attendu",
    "enum": lambda ctx: f"valeurs possibles : {ctx.get('expected')}",
    "greater_than": lambda ctx: f"doit être supérieur à {ctx.get('gt')}",
    "greater_than_equal": lambda ctx: f"doit être au moins {ctx.get('ge')}",
    "less_than_equal": lambda ctx: f"doit être au plus {ctx.get('le')}",
    "extra_forbidden": lambda _: "réglage inconnu",
    "public_url": lambda _: "une adresse http(s) absolue sans paramètre est attendue",
    "secret_too_short": lambda _: "16 caractères au moins",
    "counts": lambda _: "CDS_DEFAULT_COUNT dépasse CDS_MAX_COUNT",
    "two_secrets": lambda _: "CDS_LOCATOR_SECRET et CDS_LOCATOR_SECRET_FILE s'excluent",
    "two_stores": lambda _: "CDS_REDIS_URL et CDS_REDIS_URL_FILE s'excluent",
    "federation_secrets": lambda _: "CDS_FEDERATION_SECRET et CDS_FEDERATION_SECRET_FILE s'excluent",
    "freshness": lambda _: "CDS_LOCATOR_FRESHNESS doit dépasser CDS_LOCATOR_POLL",
    "audit_sinks": lambda _: "file, log et fhir, séparés par des virgules",
    "audit_spooled": lambda _: "fhir prend ses traces dans les fichiers : file,fhir",
    "audit_url": lambda _: "CDS_AUDIT=fhir exige CDS_AUDIT_URL",
    "audit_secrets": lambda _: "CDS_AUDIT_SECRET et CDS_AUDIT_SECRET_FILE s'excluent",
    "audit_nowhere": lambda _: "CDS_AUDIT=none n'est permis qu'avec CDS_AUTH=none",
    "two_passwords": lambda _: "CDS_KAFKA_PASSWORD et CDS_KAFKA_PASSWORD_FILE s'excluent",
    "topic_prefix": lambda _: "lettres, chiffres, « . », « _ » et « - » seulement, 100 au plus",
    "slug": lambda _: "l'identifiant d'un gestionnaire",
    "networks": lambda _: "réseaux comme 10.1.0.0/16, séparés par des virgules",
    "https_url": lambda _: "une adresse https est attendue (http sur la boucle locale seulement)",
    "algorithms": lambda _: "algorithmes asymétriques attendus, comme RS256,ES256",
    "header": lambda _: "un nom d'en-tête est attendu",
    "two_introspection_secrets": lambda _: (
        "CDS_OIDC_INTROSPECTION_SECRET et CDS_OIDC_INTROSPECTION_SECRET_FILE s'excluent"
    ),
    "two_console_secrets": lambda _: "CDS_CONSOLE_CLIENT_SECRET et CDS_CONSOLE_CLIENT_SECRET_FILE s'excluent",
    "console_scopes": lambda _: "portées séparées par un blanc, dont openid",
    "tls_alone": lambda _: "CDS_TLS_* demandent CDS_TLS_CERT",
    "crl_alone": lambda _: "CDS_TLS_CLIENT_CRL demande CDS_TLS_CLIENT_CA",
    "exposed": lambda _: "CDS_AUTH=none exige une adresse CDS_HOST de boucle locale",
}


def translated(error: ValidationError, prefix: str) -> ConfigurationError:
    """Every wrong setting, by name, without its value: some are secrets."""
    problems = error.errors(include_input=False, include_url=False)
    return ConfigurationError(
        "config.invalid",
        problems_fr=" ; ".join(_line(prefix, problem, _french(problem)) for problem in problems),
        problems_en="; ".join(_line(prefix, problem, problem["msg"]) for problem in problems),
    )


def _french(problem: ErrorDetails) -> str:
    known = _FRENCH.get(problem["type"])
    return "valeur refusée" if known is None else known(problem.get("ctx", {}))


def _line(prefix: str, problem: ErrorDetails, reason: str) -> str:
    return f"{prefix}{str(problem['loc'][0]).upper()} : {reason}" if problem["loc"] else reason
