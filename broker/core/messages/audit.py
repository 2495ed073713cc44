"""The trail of accesses."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "audit.unavailable": Message(
        503,
        "error",
        "transient",
        "La trace des accès ne peut pas être écrite : aucun accès n'est donné tant que c'est le cas.",
        "The trail of accesses cannot be written: no access is given as long as that is so.",
    ),
    "audit.file": Message(
        503,
        "error",
        "transient",
        "Fichier de la trace des accès : {reason}.",
        "File of the trail of accesses: {reason}.",
    ),
    "audit.not-here": Message(
        404,
        "error",
        "not-supported",
        "Ce nœud ne tient pas de fichier de traces (CDS_AUDIT).",
        "This node keeps no file of the trail (CDS_AUDIT).",
    ),
    "audit.spool": Message(
        503,
        "error",
        "transient",
        "Le dépôt de traces ne prend plus rien, et trop de traces attendent.",
        "The audit repository takes nothing more, and too many records wait for it.",
    ),
}
