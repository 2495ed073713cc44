"""The registry."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "registry.unknown": Message(
        404,
        "error",
        "not-found",
        "Gestionnaire inconnu : {slug}.",
        "Unknown manager: {slug}.",
    ),
    "registry.suspended": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} est suspendu : il n'est pas interrogé.",
        "Manager {slug} is suspended: it is not asked.",
    ),
    "registry.conflict": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} a changé entre-temps.",
        "Manager {slug} has changed meanwhile.",
    ),
    "registry.invalid": Message(
        422,
        "error",
        "invalid",
        "Déclaration invalide : {field} ({reason}).",
        "Invalid declaration: {field} ({reason}).",
    ),
    "registry.exists": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} est déjà enregistré : modifiez-le par PUT.",
        "Manager {slug} is already registered: change it by PUT.",
    ),
    "registry.same-address": Message(
        409,
        "error",
        "conflict",
        "L'adresse donnée pour {slug} est déjà celle du gestionnaire {other}.",
        "The address given for {slug} is already that of manager {other}.",
    ),
    "registry.precondition": Message(
        412,
        "error",
        "conflict",
        "Le gestionnaire {slug} a changé entre-temps : relisez-le, puis recommencez.",
        "Manager {slug} has changed meanwhile: read it again, then retry.",
    ),
    "registry.bad-json": Message(
        400,
        "error",
        "structure",
        "Le corps doit être un objet JSON.",
        "The body must be a JSON object.",
    ),
    "registry.format": Message(
        406,
        "error",
        "not-supported",
        "La vue FHIR du registre est servie en JSON seulement.",
        "The FHIR view of the registry is served as JSON only.",
    ),
    "registry.credentials": Message(
        502,
        "error",
        "security",
        "Le courtier n'a pas de quoi s'authentifier auprès de {name} ({region}) : {detail}.",
        "The broker has nothing to authenticate with at {name} ({region}): {detail}.",
    ),
    "registry.address": Message(
        502,
        "error",
        "security",
        "{name} ({region}) : {detail} mène à une adresse qui n'est pas publique. Si elle doit être appelée, ajoutez son "
        "réseau à CDS_MANAGER_NETWORKS.",
        "{name} ({region}): {detail} leads to an address that is not public. If it is to be called, add its network to "
        "CDS_MANAGER_NETWORKS.",
    ),
    "registry.bad-value": Message(
        400,
        "error",
        "value",
        "Valeur mal formée : {parameter}.",
        "Malformed value: {parameter}.",
    ),
}
