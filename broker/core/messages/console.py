"""Forms of the console."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "console.form": Message(
        400,
        "error",
        "processing",
        "Ce formulaire n'a pas été donné par cette console, ou il y a trop longtemps : rechargez la page et recommencez.",
        "This form was not given by this console, or too long ago: reload the page and try again.",
    ),
    "console.purpose": Message(
        403,
        "error",
        "forbidden",
        "Des données personnelles ne sont montrées qu'à qui a déclaré un motif.",
        "Personal data are shown only to those who have stated a purpose.",
    ),
    "console.streams": Message(
        429,
        "error",
        "throttled",
        "Trop de pages sont suivies en direct à la fois : {limit} au plus.",
        "Too many pages are followed live at a time: {limit} at most.",
    ),
    "console.session-over": Message(
        401,
        "error",
        "login",
        "Votre session est terminée : connectez-vous de nouveau.",
        "Your session is over: sign in again.",
    ),
    "console.login-malformed": Message(
        400,
        "error",
        "login",
        "Ce retour du service d'authentification n'est pas lisible : recommencez la connexion.",
        "What came back from the identity provider cannot be read: begin to sign in again.",
    ),
    "console.login-state": Message(
        400,
        "error",
        "login",
        (
            "Cette connexion n'a pas commencé dans ce navigateur, a déjà servi, ou a commencé il y a trop longtemps : "
            "recommencez."
        ),
        "This sign-in was not begun in this browser, has been used, or was begun too long ago: begin again.",
    ),
    "console.login-issuer": Message(
        400,
        "error",
        "login",
        "Cette réponse ne vient pas du service d'authentification attendu.",
        "This answer does not come from the expected identity provider.",
    ),
    "console.login-denied": Message(
        403,
        "error",
        "forbidden",
        "Le service d'authentification n'a pas donné l'accès, ou vous y avez renoncé.",
        "The identity provider did not give access, or you declined it.",
    ),
    "console.login-level": Message(
        403,
        "error",
        "forbidden",
        "Le moyen d'authentification utilisé n'est pas assez sûr pour cette console.",
        "The means of authentication that was used is not strong enough for this console.",
    ),
    "console.login-person": Message(
        403,
        "error",
        "forbidden",
        "Le jeton d'accès n'est pas celui de la personne qui s'est connectée.",
        "The access token is not that of the person who signed in.",
    ),
    "console.login-failed": Message(
        502,
        "error",
        "processing",
        "Le service d'authentification n'a pas mené la connexion à son terme ({code}).",
        "The identity provider did not complete the sign-in ({code}).",
    ),
    "console.login-unavailable": Message(
        503,
        "error",
        "transient",
        "Le service d'authentification ne répond pas utilement pour le moment.",
        "The identity provider gives no usable answer at the moment.",
    ),
}
