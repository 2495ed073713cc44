"""Every text a client can be shown for an error or a warning: one table, French and English.

A row gives the HTTP status (where it ends a request), the FHIR issue severity and type, and both texts. Placeholders
are filled with parameter names, slugs, regions, limits: never with what identifies a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    status: int
    severity: str  # fatal | error | warning | information
    issue: str  # http://hl7.org/fhir/ValueSet/issue-type
    fr: str
    en: str


MESSAGES: Mapping[str, Message] = {
    # --- what the client sent
    "request.unknown-parameter": Message(
        400,
        "error",
        "not-supported",
        "Paramètre de recherche inconnu : {parameter}.",
        "Unknown search parameter: {parameter}.",
    ),
    "request.unknown-modifier": Message(
        400,
        "error",
        "not-supported",
        "Modificateur inconnu pour le paramètre {parameter}.",
        "Unknown modifier on parameter {parameter}.",
    ),
    "request.bad-value": Message(
        400,
        "error",
        "value",
        "Valeur mal formée pour le paramètre {parameter} : {expected} attendu.",
        "Malformed value for parameter {parameter}: expected {expected}.",
    ),
    "request.bad-chain": Message(
        400,
        "error",
        "not-supported",
        "Critère chaîné non reconnu : {parameter}.",
        "Chained criterion not understood: {parameter}.",
    ),
    "request.too-many-parameters": Message(
        400,
        "error",
        "too-costly",
        "Trop de paramètres : {limit} au plus.",
        "Too many parameters: at most {limit}.",
    ),
    "request.too-large": Message(
        413,
        "error",
        "too-long",
        "Requête trop volumineuse : {limit} octets au plus.",
        "Request too large: at most {limit} bytes.",
    ),
    "request.not-found": Message(404, "error", "not-found", "Ressource inconnue.", "Unknown resource."),
    "request.deleted": Message(
        410,
        "error",
        "deleted",
        "La ressource a été supprimée.",
        "The resource has been deleted.",
    ),
    "request.method": Message(
        405,
        "error",
        "not-supported",
        "Méthode non offerte à cette adresse.",
        "Method not offered at this address.",
    ),
    "request.format": Message(
        406,
        "error",
        "not-supported",
        "Format de réponse non offert : JSON et XML FHIR le sont.",
        "Answer format not offered: FHIR JSON and XML are.",
    ),
    "request.content-type": Message(
        415,
        "error",
        "not-supported",
        "Type de contenu non accepté.",
        "Content type not accepted.",
    ),
    "request.bad-resource": Message(
        400,
        "error",
        "structure",
        "Le corps n'est pas une ressource FHIR lisible.",
        "The body is not a readable FHIR resource.",
    ),
    "request.bad-preference": Message(
        400,
        "error",
        "value",
        "Préférence mal formée : {parameter}.",
        "Malformed preference: {parameter}.",
    ),
    # --- pages
    "page.forged": Message(
        400,
        "error",
        "value",
        "Lien de page non reconnu.",
        "Page link not recognised.",
    ),
    "page.expired": Message(
        410,
        "error",
        "expired",
        "Le lien de page a expiré : relancez la recherche.",
        "The page link has expired: run the search again.",
    ),
    "page.unavailable": Message(
        200,
        "warning",
        "incomplete",
        "La suite des résultats ne peut être proposée : la mémoire des pages est indisponible.",
        "Further pages cannot be offered: the page store is unavailable.",
    ),
    # --- the federation as a whole
    "federation.no-manager": Message(
        503,
        "error",
        "transient",
        "Aucun gestionnaire actif n'est enregistré.",
        "No active manager is registered.",
    ),
    "federation.partial-denied": Message(
        503,
        "error",
        "incomplete",
        "La réponse serait partielle, et le client n'en veut pas.",
        "The answer would be partial, and the client asked for none.",
    ),
    "federation.loop": Message(
        508,
        "error",
        "processing",
        "Boucle entre courtiers : cette fédération a déjà vu la requête.",
        "Loop between brokers: this federation has already seen the request.",
    ),
    "federation.store": Message(
        503,
        "error",
        "transient",
        "Le registre est indisponible.",
        "The registry is unavailable.",
    ),
    "internal": Message(500, "fatal", "exception", "Erreur interne.", "Internal error."),
    # --- one manager: {name} ({region})
    "manager.timeout": Message(
        504,
        "warning",
        "timeout",
        "{name} ({region}) n'a pas répondu à temps.",
        "{name} ({region}) did not answer in time.",
    ),
    "manager.unreachable": Message(
        502,
        "warning",
        "transient",
        "{name} ({region}) est injoignable.",
        "{name} ({region}) cannot be reached.",
    ),
    "manager.breaker-open": Message(
        503,
        "warning",
        "transient",
        "{name} ({region}) est en panne et n'a pas été interrogé.",
        "{name} ({region}) is failing and was not asked.",
    ),
    "manager.busy": Message(
        503,
        "warning",
        "throttled",
        "{name} ({region}) est saturé.",
        "{name} ({region}) is saturated.",
    ),
    "manager.refused": Message(
        502,
        "warning",
        "forbidden",
        "{name} ({region}) a refusé l'accès.",
        "{name} ({region}) refused access.",
    ),
    "manager.error": Message(
        502,
        "warning",
        "exception",
        "{name} ({region}) a répondu par une erreur.",
        "{name} ({region}) answered with an error.",
    ),
    "manager.rejected": Message(
        502,
        "warning",
        "not-supported",
        "{name} ({region}) n'a pas accepté la requête.",
        "{name} ({region}) did not accept the request.",
    ),
    "manager.invalid": Message(
        502,
        "warning",
        "structure",
        "{name} ({region}) a donné une réponse invalide.",
        "{name} ({region}) gave an invalid answer.",
    ),
    "manager.too-large": Message(
        502,
        "warning",
        "too-long",
        "{name} ({region}) a donné une réponse trop volumineuse.",
        "{name} ({region}) gave too large an answer.",
    ),
    "manager.redirect": Message(
        502,
        "warning",
        "security",
        "{name} ({region}) a renvoyé hors de son adresse enregistrée.",
        "{name} ({region}) pointed outside its registered address.",
    ),
    "manager.loop": Message(
        502,
        "warning",
        "processing",
        "{name} ({region}) renvoie à cette fédération même.",
        "{name} ({region}) leads back to this very federation.",
    ),
    "manager.not-supported": Message(
        501,
        "warning",
        "not-supported",
        "{name} ({region}) ne sait pas appliquer le critère {parameter}.",
        "{name} ({region}) cannot apply the criterion {parameter}.",
    ),
    # --- the registry
    "registry.unknown": Message(
        404,
        "error",
        "not-found",
        "Gestionnaire inconnu : {slug}.",
        "Unknown manager: {slug}.",
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
}


def text(key: str, language: str, **params: str | int | float) -> str:
    """The text of a row in `fr` or `en`, filled. A missing parameter shows as `?` rather than failing."""
    row = MESSAGES[key]
    template = row.fr if language == "fr" else row.en
    return template.format_map(_Lenient(params))


class _Lenient(dict[str, "str | int | float"]):
    def __missing__(self, key: str) -> str:
        return "?"
