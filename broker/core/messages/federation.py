"""The federation as a whole: the plan of a search, merging, the index, the store."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
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
    "federation.log": Message(
        503,
        "error",
        "transient",
        "Le journal des changements est indisponible.",
        "The change log is unavailable.",
    ),
    "federation.log-topic": Message(
        503,
        "error",
        "transient",
        "Le sujet {topic} n'existe pas dans le journal des changements.",
        "Topic {topic} does not exist in the change log.",
    ),
    "federation.log-too-large": Message(
        500,
        "error",
        "too-long",
        "Un changement est trop volumineux pour le sujet {topic} : {limit} octets au plus.",
        "A change is too large for topic {topic}: at most {limit} bytes.",
    ),
    "locator.no-feed": Message(
        200,
        "warning",
        "incomplete",
        "Ses changements ne peuvent être suivis : il est toujours interrogé.",
        "Its changes cannot be followed: it is always asked.",
    ),
    "locator.no-patient-feed": Message(
        200,
        "warning",
        "incomplete",
        "Les changements de ses Patients ne peuvent être suivis : il est toujours interrogé.",
        "The changes of its Patients cannot be followed: it is always asked.",
    ),
    "locator.no-deletions": Message(
        200,
        "information",
        "incomplete",
        "Ses suppressions ne se voient pas : il est interrogé parfois pour rien, jusqu'au prochain parcours.",
        "Its deletions do not show: it is sometimes asked for nothing, until the next crawl.",
    ),
    "locator.too-many-managers": Message(
        503,
        "error",
        "processing",
        "L'index de localisation ne peut plus numéroter de gestionnaire ; commencez une nouvelle génération.",
        "The locator has no number left for another manager; start a new generation.",
    ),
    "locator.too-many-identifiers": Message(
        503,
        "error",
        "processing",
        "Un cercle de {slug} porte plus de {limit} identifiants ou un identifiant logique trop long.",
        "A circle of {slug} has more than {limit} identifiers, or too long a logical id.",
    ),
    "internal": Message(500, "fatal", "exception", "Erreur interne.", "Internal error."),
    "merge.replica-shown": Message(
        200,
        "warning",
        "informational",
        "Le cercle {circle} est une copie : son gestionnaire d'origine ({home}) n'a pas répondu.",
        "Circle {circle} is a replica: its home ({home}) did not answer.",
    ),
    "merge.conflict": Message(
        200,
        "warning",
        "duplicate",
        "Plusieurs cercles pour une même personne : {circles}.",
        "Several circles for one person: {circles}.",
    ),
    "merge.total-unknown": Message(
        200,
        "warning",
        "too-costly",
        "Le nombre total n'est pas connu avec certitude : plus de {limit} résultats à dénombrer.",
        "The total is not known for certain: more than {limit} results to count.",
    ),
    "plan.all": Message(
        200, "information", "informational", "Rien ne désigne un gestionnaire.", "Nothing names a manager."
    ),
    "plan.named": Message(
        200,
        "information",
        "informational",
        "Le critère {parameter} le désigne.",
        "Criterion {parameter} names it.",
    ),
    "plan.elsewhere": Message(
        200,
        "information",
        "informational",
        "Le critère {parameter} ne peut rien y trouver.",
        "Criterion {parameter} can find nothing there.",
    ),
    "plan.not-holder": Message(
        200,
        "information",
        "informational",
        "L'index n'y connaît rien qui réponde au critère {parameter}.",
        "The index knows nothing there that meets criterion {parameter}.",
    ),
    "locate.nothing-named": Message(
        400,
        "error",
        "required",
        "Un identifiant avec son système est requis : {parameter}.",
        "An identifier with its system is required: {parameter}.",
    ),
    "plan.suspended": Message(200, "information", "informational", "Il est suspendu.", "It is suspended."),
}
