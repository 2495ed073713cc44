"""Every text a client can be shown for an error or a warning: one table, French and English.

A row gives the HTTP status (where it ends a request), the FHIR issue severity and type, and both texts. Placeholders
are filled with parameter names, slugs, regions, limits: never with what identifies a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    status: int
    severity: str  # fatal | error | warning | information
    issue: str  # http://hl7.org/fhir/ValueSet/issue-type
    fr: str
    en: str


MESSAGES: Mapping[str, Message] = {
    # --- what the client sent
    "request.unknown-parameter": Message(
        400,
        "error",
        "not-supported",
        "Paramètre de recherche inconnu : {parameter}.",
        "Unknown search parameter: {parameter}.",
    ),
    "request.unknown-modifier": Message(
        400,
        "error",
        "not-supported",
        "Modificateur inconnu pour le paramètre {parameter}.",
        "Unknown modifier on parameter {parameter}.",
    ),
    "request.bad-value": Message(
        400,
        "error",
        "value",
        "Valeur mal formée pour le paramètre {parameter} : {expected} attendu.",
        "Malformed value for parameter {parameter}: expected {expected}.",
    ),
    "request.bad-chain": Message(
        400,
        "error",
        "not-supported",
        "Critère chaîné non reconnu : {parameter}.",
        "Chained criterion not understood: {parameter}.",
    ),
    "request.repeated-parameter": Message(
        400,
        "error",
        "invalid",
        "Le paramètre {parameter} n'est admis qu'une fois.",
        "Parameter {parameter} is allowed once only.",
    ),
    "request.too-many-parameters": Message(
        400,
        "error",
        "too-costly",
        "Trop de paramètres : {limit} au plus.",
        "Too many parameters: at most {limit}.",
    ),
    "request.too-large": Message(
        413,
        "error",
        "too-long",
        "Requête trop volumineuse : {limit} octets au plus.",
        "Request too large: at most {limit} bytes.",
    ),
    "request.not-found": Message(404, "error", "not-found", "Ressource inconnue.", "Unknown resource."),
    "request.deleted": Message(
        410,
        "error",
        "deleted",
        "La ressource a été supprimée.",
        "The resource has been deleted.",
    ),
    "request.method": Message(
        405,
        "error",
        "not-supported",
        "Méthode non offerte à cette adresse.",
        "Method not offered at this address.",
    ),
    "request.format": Message(
        406,
        "error",
        "not-supported",
        "Format de réponse non offert : JSON et XML FHIR le sont.",
        "Answer format not offered: FHIR JSON and XML are.",
    ),
    "request.malformed": Message(
        400,
        "error",
        "structure",
        "La requête HTTP est mal formée.",
        "The HTTP request is malformed.",
    ),
    "request.expectation": Message(
        417,
        "error",
        "not-supported",
        "Attente (en-tête Expect) non prise en charge.",
        "Expectation (Expect header) not supported.",
    ),
    "request.no-xml": Message(
        406,
        "error",
        "not-supported",
        "La réponse contient une ressource qui ne peut s'écrire en XML : demandez du JSON.",
        "The answer holds a resource that cannot be written in XML: ask for JSON.",
    ),
    "request.content-type": Message(
        415,
        "error",
        "not-supported",
        "Type de contenu non accepté.",
        "Content type not accepted.",
    ),
    "request.bad-resource": Message(
        400,
        "error",
        "structure",
        "Le corps n'est pas une ressource FHIR lisible.",
        "The body is not a readable FHIR resource.",
    ),
    "request.bad-preference": Message(
        400,
        "error",
        "value",
        "Préférence mal formée : {parameter}.",
        "Malformed preference: {parameter}.",
    ),
    # --- writes
    "request.unknown-type": Message(
        404,
        "error",
        "not-supported",
        "Type de ressource non offert.",
        "Resource type not offered.",
    ),
    "request.wrong-type": Message(
        400,
        "error",
        "invalid",
        "Le corps doit être une ressource de type {type}.",
        "The body must be a resource of type {type}.",
    ),
    "request.bad-id": Message(
        400,
        "error",
        "value",
        "Identifiant logique mal formé : [A-Za-z0-9-.]{{1,64}} attendu.",
        "Malformed logical id: expected [A-Za-z0-9-.]{{1,64}}.",
    ),
    "request.id-mismatch": Message(
        400,
        "error",
        "invalid",
        "L'identifiant du corps n'est pas celui de l'adresse.",
        "The id in the body is not the one in the address.",
    ),
    "request.precondition": Message(
        412,
        "error",
        "conflict",
        "La ressource n'est pas dans la version attendue (If-Match).",
        "The resource is not at the version expected (If-Match).",
    ),
    "request.several-matches": Message(
        412,
        "error",
        "multiple-matches",
        "Plusieurs ressources répondent à la condition.",
        "Several resources meet the condition.",
    ),
    "request.bad-condition": Message(
        400,
        "error",
        "value",
        "La condition ne contient aucun critère de recherche.",
        "The condition holds no search criterion.",
    ),
    "request.missing-element": Message(
        422,
        "error",
        "required",
        "Élément obligatoire absent ou non conforme au profil : {element}.",
        "Mandatory element absent, or not as the profile has it: {element}.",
    ),
    "request.second-circle": Message(
        409,
        "error",
        "business-rule",
        "Cette personne a déjà un cercle de soins.",
        "This person already has a care circle.",
    ),
    "write.stored": Message(200, "information", "informational", "Enregistré.", "Stored."),
    "request.not-a-transaction": Message(
        400,
        "error",
        "invalid",
        "Le corps doit être un Bundle de type transaction.",
        "The body must be a Bundle of type transaction.",
    ),
    "transaction.failed": Message(
        500,
        "error",
        "processing",
        "La transaction a échoué : rien n'a été enregistré.",
        "The transaction failed: nothing was stored.",
    ),
    "transaction.method": Message(
        400,
        "error",
        "invariant",
        "Méthode non admise dans une transaction : POST ou PUT attendu (req-met).",
        "Method not allowed in a transaction: expected POST or PUT (req-met).",
    ),
    "transaction.url": Message(
        400,
        "error",
        "value",
        "Adresse d'entrée mal formée : Type pour POST, Type/id pour PUT.",
        "Malformed entry address: Type for POST, Type/id for PUT.",
    ),
    "transaction.duplicate": Message(
        400,
        "error",
        "duplicate",
        "Deux entrées portent sur la même ressource.",
        "Two entries are about the same resource.",
    ),
    "transaction.dangling": Message(
        400,
        "error",
        "not-found",
        "Une référence urn:uuid ne mène à aucune entrée.",
        "A urn:uuid reference leads to no entry.",
    ),
    "transaction.unresolved": Message(
        412,
        "error",
        "processing",
        "Une référence conditionnelle ne mène pas à une seule ressource.",
        "A conditional reference does not lead to exactly one resource.",
    ),
    # --- pages
    "page.forged": Message(
        400,
        "error",
        "value",
        "Lien de page non reconnu.",
        "Page link not recognised.",
    ),
    "page.expired": Message(
        410,
        "error",
        "expired",
        "Le lien de page a expiré : relancez la recherche.",
        "The page link has expired: run the search again.",
    ),
    "page.unavailable": Message(
        200,
        "warning",
        "incomplete",
        "La suite des résultats ne peut être proposée : la mémoire des pages est indisponible.",
        "Further pages cannot be offered: the page store is unavailable.",
    ),
    # --- the federation as a whole
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
    # --- one manager: {name} ({region})
    "manager.timeout": Message(
        504,
        "warning",
        "timeout",
        "{name} ({region}) n'a pas répondu à temps.",
        "{name} ({region}) did not answer in time.",
    ),
    "manager.unreachable": Message(
        502,
        "warning",
        "transient",
        "{name} ({region}) est injoignable.",
        "{name} ({region}) cannot be reached.",
    ),
    "manager.breaker-open": Message(
        503,
        "warning",
        "transient",
        "{name} ({region}) est en panne et n'a pas été interrogé.",
        "{name} ({region}) is failing and was not asked.",
    ),
    "manager.busy": Message(
        503,
        "warning",
        "throttled",
        "{name} ({region}) est saturé.",
        "{name} ({region}) is saturated.",
    ),
    "manager.refused": Message(
        502,
        "warning",
        "forbidden",
        "{name} ({region}) a refusé l'accès.",
        "{name} ({region}) refused access.",
    ),
    "manager.error": Message(
        502,
        "warning",
        "exception",
        "{name} ({region}) a répondu par une erreur.",
        "{name} ({region}) answered with an error.",
    ),
    "manager.rejected": Message(
        502,
        "warning",
        "not-supported",
        "{name} ({region}) n'a pas accepté la requête.",
        "{name} ({region}) did not accept the request.",
    ),
    "manager.invalid": Message(
        502,
        "warning",
        "structure",
        "{name} ({region}) a donné une réponse invalide.",
        "{name} ({region}) gave an invalid answer.",
    ),
    "manager.incomplete": Message(
        502,
        "warning",
        "incomplete",
        "{name} ({region}) n'a pas donné tous ses résultats.",
        "{name} ({region}) did not give all its results.",
    ),
    "manager.too-large": Message(
        502,
        "warning",
        "too-long",
        "{name} ({region}) a donné une réponse trop volumineuse.",
        "{name} ({region}) gave too large an answer.",
    ),
    "manager.redirect": Message(
        502,
        "warning",
        "security",
        "{name} ({region}) a renvoyé hors de son adresse enregistrée.",
        "{name} ({region}) pointed outside its registered address.",
    ),
    "manager.loop": Message(
        502,
        "warning",
        "processing",
        "{name} ({region}) renvoie à cette fédération même.",
        "{name} ({region}) leads back to this very federation.",
    ),
    "manager.not-supported": Message(
        501,
        "warning",
        "not-supported",
        "{name} ({region}) ne sait pas appliquer le critère {parameter}.",
        "{name} ({region}) cannot apply the criterion {parameter}.",
    ),
    "manager.suspended": Message(
        503,
        "information",
        "incomplete",
        "{name} ({region}) est suspendu et n'a pas été interrogé.",
        "{name} ({region}) is suspended and was not asked.",
    ),
    "manager.gone": Message(
        503,
        "warning",
        "incomplete",
        "{slug} n'est plus interrogé : il a quitté le registre ou a été suspendu depuis la première page.",
        "{slug} is no longer asked: it left the registry or was suspended since the first page.",
    ),
    "manager.unsorted": Message(
        200,
        "warning",
        "incomplete",
        "{name} ({region}) ne trie pas : ses résultats suivent ceux des autres, dans son ordre.",
        "{name} ({region}) does not sort: its results follow the others, in its own order.",
    ),
    "manager.reported": Message(
        200,
        "warning",
        "informational",
        "{name} ({region}) signale une remarque sur sa réponse.",
        "{name} ({region}) has a remark on its answer.",
    ),
    "manager.include-failed": Message(
        200,
        "warning",
        "incomplete",
        "Des ressources liées n'ont pas pu être obtenues de {name} ({region}).",
        "Linked resources could not be obtained from {name} ({region}).",
    ),
    "manager.no-type-history": Message(
        200,
        "warning",
        "incomplete",
        "{name} ({region}) n'offre pas d'historique d'ensemble : ses suppressions n'y paraissent pas.",
        "{name} ({region}) offers no history of its type: its deletions do not show.",
    ),
    # --- what merging has to say
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
    # --- why a manager is asked, or not
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
    "manager.entry-id": Message(
        200,
        "warning",
        "structure",
        "{name} ({region}) a donné des ressources sans identifiant FHIR valable : elles sont écartées.",
        "{name} ({region}) gave resources without a valid FHIR id: they were left out.",
    ),
    "manager.entry-unreadable": Message(
        200,
        "warning",
        "structure",
        "{name} ({region}) a donné des ressources illisibles : elles sont écartées.",
        "{name} ({region}) gave unreadable resources: they were left out.",
    ),
    "manager.entry-empty": Message(
        200,
        "warning",
        "structure",
        "{name} ({region}) a donné des entrées sans ressource : elles sont écartées.",
        "{name} ({region}) gave entries without a resource: they were left out.",
    ),
    # --- the registry
    "registry.unknown": Message(
        404,
        "error",
        "not-found",
        "Gestionnaire inconnu : {slug}.",
        "Unknown manager: {slug}.",
    ),
    "registry.suspended": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} est suspendu : il n'est pas interrogé.",
        "Manager {slug} is suspended: it is not asked.",
    ),
    "registry.conflict": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} a changé entre-temps.",
        "Manager {slug} has changed meanwhile.",
    ),
    "registry.invalid": Message(
        422,
        "error",
        "invalid",
        "Déclaration invalide : {field} ({reason}).",
        "Invalid declaration: {field} ({reason}).",
    ),
    "registry.exists": Message(
        409,
        "error",
        "conflict",
        "Le gestionnaire {slug} est déjà enregistré : modifiez-le par PUT.",
        "Manager {slug} is already registered: change it by PUT.",
    ),
    "registry.same-address": Message(
        409,
        "error",
        "conflict",
        "L'adresse donnée pour {slug} est déjà celle du gestionnaire {other}.",
        "The address given for {slug} is already that of manager {other}.",
    ),
    "registry.precondition": Message(
        412,
        "error",
        "conflict",
        "Le gestionnaire {slug} a changé entre-temps : relisez-le, puis recommencez.",
        "Manager {slug} has changed meanwhile: read it again, then retry.",
    ),
    "registry.bad-json": Message(
        400,
        "error",
        "structure",
        "Le corps doit être un objet JSON.",
        "The body must be a JSON object.",
    ),
    "registry.format": Message(
        406,
        "error",
        "not-supported",
        "La vue FHIR du registre est servie en JSON seulement.",
        "The FHIR view of the registry is served as JSON only.",
    ),
    "registry.bad-value": Message(
        400,
        "error",
        "value",
        "Valeur mal formée : {parameter}.",
        "Malformed value: {parameter}.",
    ),
    # --- settings and files, said to the operator
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
    "config.access-control": Message(
        500,
        "fatal",
        "exception",
        "Le contrôle d'accès ({mode}) n'est pas encore offert : démarrez avec CDS_AUTH=none, sur une adresse de "
        "boucle locale (--host 127.0.0.1).",
        "Access control ({mode}) is not offered yet: start with CDS_AUTH=none, on a loopback address "
        "(--host 127.0.0.1).",
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
    "config.embedded-store": Message(
        500,
        "fatal",
        "exception",
        "Le magasin embarqué n'a pas pu démarrer ({reason}) : voir {log}, ou donner CDS_REDIS_URL.",
        "The embedded store could not start ({reason}): see {log}, or set CDS_REDIS_URL.",
    ),
}


def text(key: str, language: str, **params: str | int | float) -> str:
    """The text of a row in `fr` or `en`, filled. A missing parameter shows as `?` rather than failing."""
    row = MESSAGES[key]
    template = row.fr if language == "fr" else row.en
    return template.format_map(_Lenient(params))


class _Lenient(dict[str, "str | int | float"]):
    def __missing__(self, key: str) -> str:
        return "?"
