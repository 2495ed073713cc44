"""Where a new resource goes, and references to other managers' actors."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "write.home-unknown": Message(
        422,
        "error",
        "required",
        "Rien ne désigne le gestionnaire de cette ressource : nommez-le par l'en-tête X-Gestionnaire.",
        "Nothing says which manager this resource goes to: name it in the header X-Gestionnaire.",
    ),
    "write.home-not-registered": Message(
        422,
        "error",
        "not-found",
        "X-Gestionnaire ne désigne aucun gestionnaire enregistré.",
        "X-Gestionnaire names no registered manager.",
    ),
    "write.home-suspended": Message(
        422,
        "error",
        "business-rule",
        "{name} ({region}) est suspendu : rien n'y est créé.",
        "{name} ({region}) is suspended: nothing is created there.",
    ),
    "write.home-no-writes": Message(
        422,
        "error",
        "not-supported",
        "{name} ({region}) n'offre pas d'écrire une ressource {type} ({interaction}).",
        "{name} ({region}) does not offer to write a {type} ({interaction}).",
    ),
    "home.stated": Message(
        200,
        "information",
        "informational",
        "L'en-tête X-Gestionnaire désigne ce gestionnaire.",
        "The header X-Gestionnaire names this manager.",
    ),
    "home.subject": Message(
        200,
        "information",
        "informational",
        "La ressource va au gestionnaire de celle à laquelle elle se rapporte. X-Gestionnaire peut en nommer un autre.",
        "The resource goes to the manager of the one that it is about. X-Gestionnaire can name another.",
    ),
    "home.own": Message(
        200,
        "information",
        "informational",
        "C'est le gestionnaire de l'appelant.",
        "It is the caller's own manager.",
    ),
    "home.territory": Message(
        200,
        "information",
        "informational",
        "Le département de l'adresse est du territoire de ce gestionnaire.",
        "The address's department is in this manager's territory.",
    ),
    "home.default": Message(
        200,
        "information",
        "informational",
        "C'est le gestionnaire par défaut (CDS_HOME).",
        "It is the default manager (CDS_HOME).",
    ),
    "home.no-subject": Message(
        200,
        "information",
        "informational",
        "La ressource ne se rapporte à aucune ressource d'un gestionnaire (patient d'un cercle, par exemple).",
        "The resource is about none of a manager's resources (a circle's patient, for one).",
    ),
    "home.no-own": Message(
        200,
        "information",
        "informational",
        "L'appelant n'est attaché à aucun gestionnaire.",
        "The caller belongs to no manager.",
    ),
    "home.own-several": Message(
        200,
        "information",
        "informational",
        "L'appelant est attaché à plusieurs gestionnaires : {homes}.",
        "The caller belongs to several managers: {homes}.",
    ),
    "home.no-department": Message(
        200,
        "information",
        "informational",
        "Aucune adresse française, du patient ou de l'organisation responsable, ne donne de département.",
        "No French address, the patient's or the managing organisation's, gives a department.",
    ),
    "home.territory-unclaimed": Message(
        200,
        "information",
        "informational",
        "Le département de l'adresse n'est du territoire d'aucun gestionnaire qui puisse l'accueillir.",
        "The address's department is in the territory of no manager that can take the resource.",
    ),
    "home.territory-shared": Message(
        200,
        "information",
        "informational",
        "Le département de l'adresse est du territoire de plusieurs gestionnaires : {homes}.",
        "The address's department is in the territory of several managers: {homes}.",
    ),
    "home.no-default": Message(
        200,
        "information",
        "informational",
        "Aucun gestionnaire par défaut n'est réglé (CDS_HOME).",
        "No default manager is set (CDS_HOME).",
    ),
    "home.default-not-registered": Message(
        200,
        "information",
        "informational",
        "Le gestionnaire par défaut (CDS_HOME) n'est pas enregistré : {home}.",
        "The default manager (CDS_HOME) is not registered: {home}.",
    ),
    "home.candidates": Message(
        200,
        "information",
        "informational",
        "X-Gestionnaire peut nommer : {homes}.",
        "X-Gestionnaire can name: {homes}.",
    ),
    "home.no-candidates": Message(
        200,
        "information",
        "informational",
        "Aucun gestionnaire actif n'offre cette écriture.",
        "No active manager offers this write.",
    ),
    "write.reference-unknown": Message(
        422,
        "error",
        "not-found",
        "La référence ne désigne aucune ressource de la fédération.",
        "The reference names no resource of the federation.",
    ),
    "write.reference-type": Message(
        422,
        "error",
        "not-supported",
        "Une ressource {type} d'un autre gestionnaire ne peut pas être recopiée : seuls les acteurs le sont.",
        "A {type} of another manager cannot be copied: actors alone are.",
    ),
    "write.reference-no-identifier": Message(
        422,
        "error",
        "required",
        "L'acteur référencé est d'un autre gestionnaire et n'a pas d'identifiant métier (système et valeur) par "
        "lequel le reconnaître ailleurs.",
        "The actor referred to is another manager's and has no business identifier (system and value) by which it "
        "could be known elsewhere.",
    ),
    "write.reference-ambiguous": Message(
        422,
        "error",
        "multiple-matches",
        "{name} ({region}) a plusieurs ressources qui portent l'identifiant de l'acteur référencé : aucune n'est prise.",
        "{name} ({region}) has several resources with the identifier of the actor referred to: none is taken.",
    ),
    "write.reference-refused": Message(
        422,
        "error",
        "processing",
        "{name} ({region}) refuse la copie de l'acteur référencé.",
        "{name} ({region}) refuses the copy of the actor referred to.",
    ),
    "write.reference-many": Message(
        422,
        "error",
        "too-costly",
        "Trop d'acteurs d'autres gestionnaires à recopier : {limit} au plus.",
        "Too many actors of other managers to be copied: at most {limit}.",
    ),
    "write.reference-unavailable": Message(
        503,
        "error",
        "transient",
        "L'acteur référencé n'a pas pu être recopié : {name} ({region}) n'a pas répondu comme il faut.",
        "The actor referred to could not be copied: {name} ({region}) did not answer as it must.",
    ),
}
