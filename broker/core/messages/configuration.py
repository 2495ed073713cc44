"""Settings and files, said to the operator."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "config.invalid": Message(
        500,
        "fatal",
        "exception",
        "Réglages invalides. {problems_fr}. Voir « cds-broker serve --help ».",
        "Invalid settings. {problems_en}. See `cds-broker serve --help`.",
    ),
    "config.file": Message(
        500,
        "fatal",
        "exception",
        "{setting} désigne un fichier ou dossier inutilisable : {reason}.",
        "{setting} names a file or directory that cannot be used: {reason}.",
    ),
    "config.gestionnaires": Message(
        500,
        "fatal",
        "exception",
        "Fichier des gestionnaires {file} : {problems_fr}.",
        "Managers file {file}: {problems_en}.",
    ),
    "config.secret-missing": Message(
        500,
        "fatal",
        "exception",
        "Avec CDS_REDIS_URL, donnez CDS_LOCATOR_SECRET_FILE (ou CDS_LOCATOR_SECRET), le même partout.",
        "With CDS_REDIS_URL, give CDS_LOCATOR_SECRET_FILE (or CDS_LOCATOR_SECRET), the same on every node.",
    ),
    "config.secret-short": Message(
        500,
        "fatal",
        "exception",
        "Le secret du localisateur est trop court : {limit} octets au moins.",
        "The locator secret is too short: at least {limit} bytes.",
    ),
    "config.store-evicts": Message(
        500,
        "fatal",
        "exception",
        "Le serveur Redis évince des clés (maxmemory-policy {policy}) : il faut noeviction, et assez de mémoire.",
        "The Redis server evicts keys (maxmemory-policy {policy}): it must be noeviction, with enough memory.",
    ),
    "config.access-control": Message(
        500,
        "fatal",
        "exception",
        "Contrôle d'accès (CDS_AUTH={mode}) : {problems_fr}. Pour un essai sur cette seule machine : CDS_AUTH=none.",
        "Access control (CDS_AUTH={mode}): {problems_en}. For a trial on this machine alone: CDS_AUTH=none.",
    ),
    "config.clients": Message(
        500,
        "fatal",
        "exception",
        "Fichier des clients {file} : {problems_fr}.",
        "Clients file {file}: {problems_en}.",
    ),
    "config.port-taken": Message(
        500,
        "fatal",
        "exception",
        "Le port {port} de {host} est déjà pris : choisissez-en un autre par --port.",
        "Port {port} of {host} is already taken: choose another with --port.",
    ),
    "config.listen": Message(
        500,
        "fatal",
        "exception",
        "Impossible d'écouter sur {host}, port {port} ({reason}) : voir --host et --port.",
        "Cannot listen on {host}, port {port} ({reason}): see --host and --port.",
    ),
    "demo.not-started": Message(
        500,
        "fatal",
        "exception",
        "Le gestionnaire de démonstration {slug} n'a pas démarré.",
        "The demonstration manager {slug} did not start.",
    ),
    "config.log-topic": Message(
        500,
        "fatal",
        "exception",
        "Le sujet {topic} du journal des changements ne convient pas : {setting} vaut {found} au lieu de {expected}. "
        "Corrigez ce réglage du sujet, ou supprimez le sujet pour qu'il soit recréé.",
        "Topic {topic} of the change log is unsuitable: {setting} is {found} instead of {expected}. Correct this setting "
        "of the topic, or delete the topic so that it is created anew.",
    ),
    "config.log-topic-refused": Message(
        500,
        "fatal",
        "exception",
        "Le sujet {topic} n'a pas pu être créé dans le journal des changements ({reason}) : créez-le, ou donnez le "
        "droit de le créer.",
        "Topic {topic} could not be created in the change log ({reason}): create it, or grant the right to create it.",
    ),
    "config.kafka": Message(
        500,
        "fatal",
        "exception",
        "{setting} ne convient pas pour Kafka : {expected} attendu.",
        "{setting} does not suit Kafka: expected {expected}.",
    ),
    "config.agent-manager": Message(
        500,
        "fatal",
        "exception",
        "Gestionnaire {slug} : {reason}.",
        "Manager {slug}: {reason}.",
    ),
    "config.agent-address": Message(
        500,
        "fatal",
        "exception",
        "L'adresse du gestionnaire {slug} manque : donnez --manager-url, ou --gestionnaires avec le fichier qui le décrit.",
        "The address of manager {slug} is missing: give --manager-url, or --gestionnaires with the file that declares it.",
    ),
    "config.agent-unknown": Message(
        500,
        "fatal",
        "exception",
        "Le gestionnaire {slug} n'est pas dans le fichier {file} : ajoutez-le, ou donnez --manager-url.",
        "Manager {slug} is not in the file {file}: add it, or give --manager-url.",
    ),
    "config.otel-missing": Message(
        500,
        "fatal",
        "exception",
        "{setting} demande OpenTelemetry, qui n'est pas installé : pip install 'cds-broker[otel]', ou ôtez ce réglage.",
        "{setting} needs OpenTelemetry, which is not installed: pip install 'cds-broker[otel]', or take the setting away.",
    ),
    "config.embedded-store": Message(
        500,
        "fatal",
        "exception",
        "Le magasin embarqué n'a pas pu démarrer ({reason}) : voir {log}, ou donner CDS_REDIS_URL.",
        "The embedded store could not start ({reason}): see {log}, or set CDS_REDIS_URL.",
    ),
}
