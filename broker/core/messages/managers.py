"""One manager: {name} ({region})."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
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
    "manager.incomplete": Message(
        502,
        "warning",
        "incomplete",
        "{name} ({region}) n'a pas donné tous ses résultats.",
        "{name} ({region}) did not give all its results.",
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
    "manager.suspended": Message(
        503,
        "information",
        "incomplete",
        "{name} ({region}) est suspendu et n'a pas été interrogé.",
        "{name} ({region}) is suspended and was not asked.",
    ),
    "manager.gone": Message(
        503,
        "warning",
        "incomplete",
        "{slug} n'est plus interrogé : il a quitté le registre ou a été suspendu depuis la première page.",
        "{slug} is no longer asked: it left the registry or was suspended since the first page.",
    ),
    "manager.unsorted": Message(
        200,
        "warning",
        "incomplete",
        "{name} ({region}) ne trie pas : ses résultats suivent ceux des autres, dans son ordre.",
        "{name} ({region}) does not sort: its results follow the others, in its own order.",
    ),
    "manager.reported": Message(
        200,
        "warning",
        "informational",
        "{name} ({region}) signale une remarque sur sa réponse.",
        "{name} ({region}) has a remark on its answer.",
    ),
    "manager.include-failed": Message(
        200,
        "warning",
        "incomplete",
        "Des ressources liées n'ont pas pu être obtenues de {name} ({region}).",
        "Linked resources could not be obtained from {name} ({region}).",
    ),
    "manager.no-type-history": Message(
        200,
        "warning",
        "incomplete",
        "{name} ({region}) n'offre pas d'historique d'ensemble : ses suppressions n'y paraissent pas.",
        "{name} ({region}) offers no history of its type: its deletions do not show.",
    ),
    "manager.entry-id": Message(
        200,
        "warning",
        "structure",
        "{name} ({region}) a donné des ressources sans identifiant FHIR valable : elles sont écartées.",
        "{name} ({region}) gave resources without a valid FHIR id: they were left out.",
    ),
    "manager.entry-unreadable": Message(
        200,
        "warning",
        "structure",
        "{name} ({region}) a donné des ressources illisibles : elles sont écartées.",
        "{name} ({region}) gave unreadable resources: they were left out.",
    ),
    "manager.entry-empty": Message(
        200,
        "warning",
        "structure",
        "{name} ({region}) a donné des entrées sans ressource : elles sont écartées.",
        "{name} ({region}) gave entries without a resource: they were left out.",
    ),
}
