"""What surrounds every page."""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, tuple[str, str]] = {
    "frame.title": ("Console du courtier", "Broker console"),
    "frame.skip": ("Aller au contenu", "Skip to content"),
    "frame.pages": ("Pages", "Pages"),
    "frame.language": ("Langue", "Language"),
    "frame.theme": ("Thème", "Theme"),
    "frame.theme.auto": ("Selon le système", "As the system"),
    "frame.theme.light": ("Clair", "Light"),
    "frame.theme.dark": ("Sombre", "Dark"),
    "frame.apply": ("Appliquer", "Apply"),
    "frame.live": ("En direct", "Live"),
    "frame.still": ("Pas en direct : rechargez la page", "Not live: reload the page"),
    "frame.signed-in": ("Connecté : {client}", "Signed in: {client}"),
    "frame.who": ("Connecté : {name}", "Signed in: {name}"),
    "frame.sign-out": ("Se déconnecter", "Sign out"),
    "signed-out.title": ("Vous êtes déconnecté", "You are signed out"),
    "signed-out.here": ("Votre session de la console est terminée.", "Your session of the console is over."),
    "signed-out.going": (
        "Le service d'authentification termine la sienne.",
        "The identity provider now ends its own.",
    ),
    "signed-out.onward": ("Poursuivre", "Go on"),
    "signed-out.again": ("Se connecter de nouveau", "Sign in again"),
    "frame.local": ("Accès local, sans authentification", "Local access, without authentication"),
    "frame.unknown": ("inconnu", "unknown"),
    "frame.none": ("aucun", "none"),
    "frame.yes": ("oui", "yes"),
    "frame.no": ("non", "no"),
    "frame.seconds": ("{value} s", "{value} s"),
    "frame.ms": ("{value} ms", "{value} ms"),
    "frame.percent": ("{value} %", "{value}%"),
    "frame.minutes": ("{value} min", "{value} min"),
    "frame.hours": ("{value} h", "{value} h"),
    "frame.days": ("{value} j", "{value} d"),
    "frame.back": ("Retour", "Back"),
    "error.title": ("Cette page ne peut pas être montrée", "This page cannot be shown"),
    "error.status": ("Réponse {status}", "Answer {status}"),
    "error.request": ("Demande n° {id}", "Request {id}"),
    "error.401": (
        (
            "La console demande à savoir qui la regarde. Ici la connexion depuis le navigateur n'est pas mise en place "
            "(CDS_CONSOLE_CLIENT_ID) : elle attend un jeton d'accès dans l'en-tête Authorization de chaque demande, avec "
            "la portée cds/console. Un mandataire qui authentifie les personnes peut ajouter cet en-tête."
        ),
        (
            "The console wants to know who looks at it. Signing in from the browser is not set up here "
            "(CDS_CONSOLE_CLIENT_ID): it takes an access token in the Authorization header of each request, with the "
            "scope cds/console. A proxy that authenticates people may add that header."
        ),
    ),
    "error.sign-in": ("Se connecter", "Sign in"),
    "error.403": (
        "Vos droits ne couvrent pas cette page ou cette action.",
        "Your rights do not cover this page or this action.",
    ),
    "error.page": ("Ce qui ne va pas", "What is wrong"),
}
