"""Transactions."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "transaction.failed": Message(
        500,
        "error",
        "processing",
        "La transaction a échoué : rien n'a été enregistré.",
        "The transaction failed: nothing was stored.",
    ),
    "transaction.method": Message(
        400,
        "error",
        "invariant",
        "Méthode non admise dans une transaction : POST ou PUT attendu (req-met).",
        "Method not allowed in a transaction: expected POST or PUT (req-met).",
    ),
    "transaction.url": Message(
        400,
        "error",
        "value",
        "Adresse d'entrée mal formée : Type pour POST, Type/id pour PUT.",
        "Malformed entry address: Type for POST, Type/id for PUT.",
    ),
    "transaction.duplicate": Message(
        400,
        "error",
        "duplicate",
        "Deux entrées portent sur la même ressource.",
        "Two entries are about the same resource.",
    ),
    "transaction.dangling": Message(
        400,
        "error",
        "not-found",
        "Une référence urn:uuid ne mène à aucune entrée.",
        "A urn:uuid reference leads to no entry.",
    ),
    "transaction.unresolved": Message(
        412,
        "error",
        "processing",
        "Une référence conditionnelle ne mène pas à une seule ressource.",
        "A conditional reference does not lead to exactly one resource.",
    ),
    "transaction.unknown-reference": Message(
        422,
        "error",
        "not-found",
        "Une référence ne mène ni à une entrée ni à une ressource de la fédération.",
        "A reference leads neither to an entry nor to a resource of the federation.",
    ),
    "transaction.one-circle": Message(
        422,
        "error",
        "business-rule",
        "Une transaction de création porte sur un seul cercle (CareTeam).",
        "A creation transaction is about one circle (CareTeam) only.",
    ),
    "transaction.one-patient": Message(
        422,
        "error",
        "business-rule",
        "Une transaction de création contient exactement un Patient.",
        "A creation transaction holds exactly one Patient.",
    ),
    "transaction.response": Message(
        400,
        "error",
        "invariant",
        "Une entrée de transaction ne contient pas de réponse (bdl-4).",
        "An entry of a transaction holds no response (bdl-4).",
    ),
    "transaction.several-managers": Message(
        422,
        "error",
        "business-rule",
        "La transaction modifie des ressources de plusieurs gestionnaires ({slugs}) : elle va tout entière à un seul.",
        "The transaction updates resources of several managers ({slugs}): it goes whole to one.",
    ),
    "transaction.entry-manager": Message(
        422,
        "error",
        "business-rule",
        "Cette entrée modifie une ressource du gestionnaire {slug}.",
        "This entry updates a resource of manager {slug}.",
    ),
}
