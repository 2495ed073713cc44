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
    "registry.lacks-more": ("et {count} autres", "and {count} more"),
    "registry.edit": ("Modifier", "Edit"),
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
    "registry.optional": ("facultatif", "optional"),
    "registry.group.who": ("Qui il est, et où", "Who it is, and where"),
    "registry.group.asking": ("Comment il est interrogé", "How it is asked"),
    "registry.field.id": ("Nom court", "Short name"),
    "registry.field.name": ("Nom", "Name"),
    "registry.field.region": ("Région", "Region"),
    "registry.field.base_url": ("Adresse FHIR", "FHIR address"),
    "registry.field.organization": ("FINESS de l'organisation", "FINESS of the organization"),
    "registry.field.territory": ("Départements", "Departments"),
    "registry.field.timeout": ("Délai, en secondes", "Deadline, in seconds"),
    "registry.field.max_connections": ("Connexions au plus", "Connections at most"),
    "registry.field.search_method": ("Méthode de recherche", "Search method"),
    "registry.field.dialect": ("Dialecte", "Dialect"),
    "registry.field.optional": ("Facultatif", "Optional"),
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
    "registry.hint.max_connections": (
        "À la fois, dans chaque processus ; laissé vide : 16",
        "At a time, in each process; left empty: 16",
    ),
    "registry.hint.search_method": (
        "GET met les critères, un INS aussi, dans l'adresse.",
        "GET puts criteria, an INS too, into the address.",
    ),
    "registry.hint.dialect": (
        "Ce qui l'emporte sur la vérification : gestionnaire, broker, hapi, medplum, ou sort=false max_page=50",
        "What counts more than the check: gestionnaire, broker, hapi, medplum, or sort=false max_page=50",
    ),
    "registry.hint.optional": (
        "Son absence ne rend pas une réponse incomplète (Prefer: partial=deny).",
        "Its absence does not make an answer incomplete (Prefer: partial=deny).",
    ),
    "registry.hint.auth": (
        "OAuth 2, mTLS et le reste se déclarent par l'API ou le fichier.",
        "OAuth 2, mTLS and the rest are declared by the API or the file.",
    ),
    "registry.hint.token_env": (
        "Son nom seulement : le secret ne passe pas par la console.",
        "Its name only: the secret does not go through the console.",
    ),
    "registry.method.auto": ("POST, sauf s'il ne l'accepte pas", "POST, unless it does not take it"),
    "registry.method.get": ("GET", "GET"),
    "registry.method.post": ("POST", "POST"),
    "registry.auth.none": ("Sans authentification", "No authentication"),
    "registry.auth.basic": ("Mot de passe (Basic)", "Password (Basic)"),
    "registry.auth.oauth2": ("OAuth 2.0", "OAuth 2.0"),
    "registry.auth.mtls": ("Certificat client (mTLS)", "Client certificate (mTLS)"),
    "registry.auth.bearer": ("Jeton (Bearer)", "Token (Bearer)"),
    "registry.choose": ("Choisir…", "Choose…"),
    "registry.edit-title": ("Modifier {name}", "Edit {name}"),
    "registry.version": ("Version {version}", "Version {version}"),
    "registry.save": ("Enregistrer", "Save"),
    "registry.save-over": ("Enregistrer quand même", "Save all the same"),
    "registry.cancel": ("Annuler", "Cancel"),
    "registry.wrong-edit": ("Rien n'a été enregistré :", "Nothing was saved:"),
    "registry.overtaken": (
        (
            "Rien n'a été enregistré : quelqu'un a modifié ce gestionnaire entre-temps (version {version}). "
            "Ce qui diffère de votre saisie :"
        ),
        (
            "Nothing was saved: somebody changed this manager meanwhile (version {version}). "
            "What differs from what you entered:"
        ),
    ),
    "registry.theirs": ("Au registre :", "In the registry:"),
    "registry.theirs-none": (
        "Rien : il dit déjà ce que vous avez saisi.",
        "Nothing: it says what you entered.",
    ),
    "registry.kept-auth": (
        (
            "Authentification : {auth}. Elle reste comme elle est, et ira à l'adresse ci-dessus ; "
            "elle se change par l'API ou le fichier, les secrets ne passent pas par la console."
        ),
        (
            "Authentication: {auth}. It stays as it is, and goes to the address above; it is changed by the API "
            "or the file, secrets do not go through the console."
        ),
    ),
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
    "registry.done.changed": (
        "{slug} est modifié, version {version}. Vérifiez-le si son adresse a changé.",
        "{slug} is changed, version {version}. Check it if its address has changed.",
    ),
    "registry.done.same": (
        "{slug} est resté comme il était, version {version}.",
        "{slug} stayed as it was, version {version}.",
    ),
    "registry.done.checked": ("{slug} est vérifié.", "{slug} is checked."),
    "registry.done.suspended": ("{slug} est suspendu.", "{slug} is suspended."),
    "registry.done.resumed": ("{slug} est de nouveau actif.", "{slug} is active again."),
    "registry.done.removed": ("{slug} est retiré.", "{slug} is removed."),
}
