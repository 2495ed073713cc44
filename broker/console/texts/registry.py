"""The page of the registry."""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, tuple[str, str]] = {
    "registry.title": ("Registre", "Registry"),
    "registry.caption": ("Gestionnaires inscrits", "Registered managers"),
    "registry.nobody": ("Aucun gestionnaire n'est inscrit.", "No manager is registered."),
    "registry.manager": ("Gestionnaire", "Manager"),
    "registry.address": ("Adresse", "Address"),
    "registry.state": ("Statut", "Status"),
    "registry.active": ("Actif", "Active"),
    "registry.skills": ("Ce qui lui manque", "What it lacks"),
    "registry.actions": ("Actions", "Actions"),
    "registry.never": ("Jamais vérifié", "Never checked"),
    "registry.checked": ("Vérifié", "Checked"),
    "registry.nothing": ("Rien ne manque.", "Nothing is missing."),
    "registry.unsettled": (
        "Des questions restent ouvertes, faute de données pour les trancher.",
        "Some questions stay open, for want of data to settle them with.",
    ),
    "registry.lacks": ("{count} manques", "{count} lacks"),
    "registry.check": ("Vérifier", "Check"),
    "registry.suspend": ("Suspendre", "Suspend"),
    "registry.resume": ("Reprendre", "Resume"),
    "registry.remove": ("Retirer", "Remove"),
    "registry.of": ("{action} {name}", "{action} {name}"),
    "registry.add": ("Ajouter un gestionnaire", "Add a manager"),
    "registry.add-button": ("Ajouter", "Add"),
    "registry.read-only": (
        "Vos droits permettent de voir le registre, pas de le changer.",
        "Your rights let you see the registry, not change it.",
    ),
    "registry.wrong": ("Ce gestionnaire n'a pas été ajouté :", "This manager was not added:"),
    "registry.required": ("obligatoire", "required"),
    "registry.field.id": ("Nom court", "Short name"),
    "registry.field.name": ("Nom", "Name"),
    "registry.field.region": ("Région", "Region"),
    "registry.field.base_url": ("Adresse FHIR", "FHIR address"),
    "registry.field.organization": ("FINESS de l'organisation", "FINESS of the organization"),
    "registry.field.territory": ("Départements", "Departments"),
    "registry.field.timeout": ("Délai, en secondes", "Deadline, in seconds"),
    "registry.field.auth": ("Authentification", "Authentication"),
    "registry.field.token_env": (
        "Variable d'environnement du jeton",
        "Environment variable of the token",
    ),
    "registry.hint.id": (
        "Lettres minuscules, chiffres, tirets ; 16 au plus. Il ouvre chaque identifiant public et ne change plus.",
        "Lower-case letters, digits, dashes; 16 at most. It begins every public id and does not change.",
    ),
    "registry.hint.base_url": ("https://…, sans paramètres", "https://…, without parameters"),
    "registry.hint.organization": ("Neuf caractères", "Nine characters"),
    "registry.hint.territory": (
        "Codes séparés par des espaces : 22 29 35 56",
        "Codes, with spaces: 22 29 35 56",
    ),
    "registry.hint.timeout": ("Laissé vide : celui de la fédération", "Left empty: that of the federation"),
    "registry.hint.auth": (
        "OAuth 2, mTLS et le reste se déclarent par l'API ou le fichier.",
        "OAuth 2, mTLS and the rest are declared by the API or the file.",
    ),
    "registry.hint.token_env": (
        "Son nom seulement : le secret ne passe pas par la console.",
        "Its name only: the secret does not go through the console.",
    ),
    "registry.auth.none": ("Aucune", "None"),
    "registry.auth.bearer": ("Jeton (Bearer)", "Token (Bearer)"),
    "registry.choose": ("Choisir…", "Choose…"),
    "registry.remove-title": ("Retirer un gestionnaire", "Remove a manager"),
    "registry.remove-ask": (
        (
            "Retirer {name} ({slug}) du registre ? Ses cercles ne seront plus trouvés, et les adresses publiques qui "
            "commencent par « {slug}. » ne répondront plus. Son histoire reste. Pour une absence, suspendez-le plutôt."
        ),
        (
            "Remove {name} ({slug}) from the registry? Its circles are found no more, and public addresses that begin "
            'with "{slug}." no longer answer. Its history stays. For an absence, suspend it instead.'
        ),
    ),
    "registry.remove-yes": ("Oui, retirer {name}", "Yes, remove {name}"),
    "registry.keep": ("Non, le garder", "No, keep it"),
    "registry.done.added": ("{slug} est ajouté. Vérifiez-le.", "{slug} is added. Check it."),
    "registry.done.checked": ("{slug} est vérifié.", "{slug} is checked."),
    "registry.done.suspended": ("{slug} est suspendu.", "{slug} is suspended."),
    "registry.done.resumed": ("{slug} est de nouveau actif.", "{slug} is active again."),
    "registry.done.removed": ("{slug} est retiré.", "{slug} is removed."),
}
