"""Synchronisation: why an event was put aside."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "sync.no-subscription": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} n'a pas de Subscription active sur un sujet.",
        "Manager {slug} has no active Subscription on a topic.",
    ),
    "sync.poison-headers": Message(
        422,
        "error",
        "invalid",
        "Événement illisible : en-tête absent, double ou mal formé ({detail}).",
        "Unreadable event: header missing, doubled or malformed ({detail}).",
    ),
    "sync.poison-schema": Message(
        422,
        "error",
        "not-supported",
        "Événement d'un autre schéma que celui qui est connu ici ({detail}).",
        "Event of another schema than the one known here ({detail}).",
    ),
    "sync.poison-key": Message(
        422,
        "error",
        "invalid",
        "Événement illisible : la clé n'est pas l'identifiant public du cercle.",
        "Unreadable event: the key is not the circle's public id.",
    ),
    "sync.poison-content": Message(
        422,
        "error",
        "invalid",
        "Événement illisible : contenu mal formé, ou d'un autre cercle ({detail}).",
        "Unreadable event: content malformed, or of another circle ({detail}).",
    ),
    "sync.replica-id-only": Message(
        422,
        "error",
        "business-rule",
        "Événement sans contenu : l'abonnement doit demander full-resource pour être répliqué.",
        "Event without content: the subscription must ask for full-resource to be replicated.",
    ),
    "sync.replica-no-identifier": Message(
        422,
        "error",
        "business-rule",
        "Le cercle n'a pas d'identifiant métier avec son système : son réplica ne pourrait pas être retrouvé.",
        "The circle has no business identifier with its system: its replica could not be found again.",
    ),
    "sync.replica-not-a-replica": Message(
        422,
        "error",
        "conflict",
        "Conflit : le gestionnaire tient lui-même un cercle de cet identifiant, qui n'est pas un réplica.",
        "Conflict: the manager itself holds a circle of this identifier, which is no replica.",
    ),
    "sync.replica-other-home": Message(
        422,
        "error",
        "conflict",
        "Conflit : le gestionnaire tient le réplica du cercle d'un autre gestionnaire sous cet identifiant.",
        "Conflict: the manager holds the replica of another home's circle under this identifier.",
    ),
    "sync.replica-ambiguous": Message(
        422,
        "error",
        "multiple-matches",
        "Le gestionnaire tient plusieurs {detail} qui lui sont propres sous un même identifiant métier.",
        "The manager holds several {detail} of its own under one business identifier.",
    ),
}
