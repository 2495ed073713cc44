"""Writes: preconditions, uniqueness, keys of idempotency, what became of one that was not answered."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "write.second-circle": Message(
        409,
        "error",
        "duplicate",
        "Cette personne a déjà un cercle de soins : {circle}, tenu par {home}. Mettez-le à jour.",
        "This person already has a care circle: {circle}, held by {home}. Update that one.",
    ),
    "write.uniqueness-unsure": Message(
        503,
        "error",
        "incomplete",
        "Rien n'a été créé : un gestionnaire qui pourrait tenir un cercle de cette personne n'a pas répondu. "
        "Réessayez, ou acceptez le risque par « Prefer: uniqueness=accept-risk ».",
        "Nothing was created: a manager that may already hold a circle of this person could not be asked. "
        "Try again, or take the risk with 'Prefer: uniqueness=accept-risk'.",
    ),
    "write.being-made": Message(
        503,
        "error",
        "lock-error",
        "Une autre écriture pour la même personne ou le même acteur est en cours, ou son issue reste inconnue. "
        "Réessayez.",
        "Another write for the same person or actor is under way, or its end is not known yet. Try again.",
    ),
    "write.person-unknown": Message(
        422,
        "error",
        "business-rule",
        "Rien ne dit de qui est ce cercle : son sujet doit être un Patient de la fédération, ou porter un identifiant.",
        "Nothing says whose circle this is: its subject must be a Patient of the federation, or carry an identifier.",
    ),
    "write.claim-lost": Message(
        503,
        "error",
        "lock-error",
        "Rien n'a été écrit : la réservation a expiré avant l'envoi. Réessayez.",
        "Nothing was written: the claim expired before it was sent. Try again.",
    ),
    "write.unknown": Message(
        504,
        "error",
        "transient",
        "Le gestionnaire {name} ({region}) n'a pas répondu, et nul ne sait encore si l'écriture a eu lieu ; "
        "le courtier le cherche. Avec la même Idempotency-Key, la même requête recevra la vraie réponse.",
        "The manager {name} ({region}) did not answer, and nobody knows yet whether the write took place; "
        "the broker is finding out. With the same Idempotency-Key the same request will be given the true answer.",
    ),
    "write.replica": Message(
        409,
        "error",
        "business-rule",
        "Ceci est une copie : seul l'original, {home}, peut être modifié.",
        "This is a copy: only its original, {home}, can be changed.",
    ),
    "write.refused": Message(
        422,
        "error",
        "processing",
        "Le gestionnaire {name} ({region}) a refusé l'écriture.",
        "The manager {name} ({region}) refused the write.",
    ),
    "idempotency.bad-key": Message(
        400,
        "error",
        "value",
        "Idempotency-Key : de 1 à {limit} caractères ASCII visibles.",
        "Idempotency-Key: 1 to {limit} printable ASCII characters.",
    ),
    "idempotency.other-request": Message(
        422,
        "error",
        "business-rule",
        "Cette Idempotency-Key a servi à une autre requête.",
        "This Idempotency-Key was used for another request.",
    ),
    "idempotency.running": Message(
        409,
        "error",
        "conflict",
        "La première requête de cette Idempotency-Key n'a pas encore de réponse. Réessayez.",
        "The first request with this Idempotency-Key has not been answered yet. Try again.",
    ),
    "write.stored": Message(200, "information", "informational", "Enregistré.", "Stored."),
}
