"""What the schemas and their fields mean, French / English: the texts of the OpenAPI document.

`SCHEMAS` by name of schema, `FIELDS` by `Schema.field`, else by the field's name alone. A schema or field without a
text is a defect: `broker.gateway.openapi_schemas` fails where one is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SCHEMAS: Final[Mapping[str, str]] = {
    "Gestionnaire": "Un gestionnaire, tel que déclaré / A manager, as declared",
    "Auth": (
        "Comment le courtier s'authentifie auprès d'un gestionnaire ; les secrets sont nommés (variable, fichier), jamais "
        "donnés. bearer : token_env ou token_file ; basic : username et password_env ou password_file ; oauth2 : token_url, "
        "client_id et client_secret_env, client_secret_file, assertion_key_file ou cert_file ; mtls : cert_file et "
        "key_file. Les réponses n'en montrent que le type et les noms de variables"
        " / How the broker authenticates at a manager; secrets are named (variable, file), never given. bearer: token_env "
        "or token_file; basic: username and password_env or password_file; oauth2: token_url, client_id and "
        "client_secret_env, client_secret_file, assertion_key_file or cert_file; mtls: cert_file and key_file. Answers "
        "show its type and the names of variables only"
    ),
    "Identity": (
        "Le gestionnaire veut savoir pour qui on l'interroge : un JWT signé (IHE IUA) va avec chaque requête ; key_file est "
        "demandé, et jamais montré / The manager wants to know for whom it is asked: a signed JWT (IHE IUA) goes with each "
        "request; key_file is needed, and never shown"
    ),
    "Registered": (
        "Un gestionnaire, tel que le registre le tient : la déclaration, sa révision, ce qu'on sait de lui"
        " / A manager as the registry keeps it: the declaration, its revision, and what was learnt of it"
    ),
    "Skills": (
        "Ce que sait faire un gestionnaire, trouvé par essais ; absent ou null : inconnu, et fait par le courtier"
        " / What a manager can do, found out by trying; absent or null: not known, and done by the broker"
    ),
    "Status": "active : interrogé ; suspended : gardé, jamais interrogé / active: asked; suspended: kept, never asked",
    "AuthType": "Manière de s'authentifier / Way of authenticating",
    "TokenAuth": (
        "Manière de s'authentifier auprès du serveur de jetons (RFC 6749, 7523, 8705)"
        " / Way of authenticating at the token endpoint (RFC 6749, 7523, 8705)"
    ),
    "IdentityType": "Forme de l'identité transmise / Form of the identity that is sent",
    "SearchMethod": (
        "auto : POST sauf si le gestionnaire le refuse / auto: POST unless the manager is known not to take it"
    ),
    "GestionnaireList": "Les gestionnaires, dans l'ordre de leurs identifiants / The managers, in the order of their ids",
    "SearchToPlan": "La recherche à expliquer / The search to explain",
    "SearchPlan": "Qui une recherche interroge / Who a search asks",
    "ManagerInPlan": (
        "Un gestionnaire dans le plan d'une recherche ; les critères par leur nom, jamais avec leur valeur"
        " / One manager in the plan of a search; criteria by name, never with their values"
    ),
    "LocatorStatus": "L'état de l'index des cercles / The state of the index of circles",
    "ManagerInLocator": "Ce que l'index tient d'un gestionnaire / What the index holds of one manager",
    "GenerationInLocator": "L'index tel que bâti avec un secret / The index as built with one secret",
    "CoverageState": "Avancement du parcours d'un gestionnaire / How far the crawl of a manager is",
    "LocatorProblem": "Pourquoi l'index est en retard sur un gestionnaire / Why the index stays behind a manager",
    "ConflictList": "Une page de conflits, le plus ancien d'abord / A page of conflicts, the oldest first",
    "ListedConflict": (
        "Une personne à plusieurs cercles, par ces cercles / A person with several circles, as those circles"
    ),
    "ConflictingCircle": "L'un de ces cercles / One of these circles",
    "ConflictState": "open : encore là / open: still there",
    "SyncStatus": "L'état de la synchronisation / The state of synchronisation",
    "SubscriberStatus": "Un gestionnaire abonné à son sujet / A manager that is subscribed on its topic",
    "BootstrapStatus": (
        "L'état présent d'un gestionnaire, vers un abonné / The present state of a manager on its way to a subscriber"
    ),
    "BootstrapState": "Avancement / How far it is",
    "AuditPage": "Une page de traces, la plus récente d'abord / A page of the trail, the newest first",
    "AuditRecord": "Une ligne de la trace / A line of the trail",
    "Problem": "Une erreur (RFC 9457) / An error (RFC 9457)",
    "FieldProblem": "Un champ refusé d'une déclaration / A field of a declaration that was refused",
    "ProblemType": "Un type d'erreur ; textes à places entre accolades / A type of problem; texts have placeholders",
    "Bundle": "Un Bundle FHIR R4 / A FHIR R4 Bundle",
    "Organization": "L'organisme d'un gestionnaire (IHE mCSD) / The body that runs a manager (IHE mCSD)",
    "Endpoint": "L'adresse d'un gestionnaire (IHE mCSD) / The address of a manager (IHE mCSD)",
    "CapabilityStatement": "Un CapabilityStatement FHIR R4 / A FHIR R4 CapabilityStatement",
    "OperationOutcome": "Une erreur, en FHIR / An error, in FHIR",
}

FIELDS: Final[Mapping[str, str]] = {
    # What means the same wherever it stands.
    "id": "Identifiant court du gestionnaire, première partie de tout id public / Short id of the manager, the first "
    "part of every public id",
    "name": "Nom / Name",
    "region": "Région, code TRE_R30 / Region, TRE_R30 code",
    "status": "Statut / Status",
    "fr": "Texte français / French text",
    "en": "Texte anglais / English text",
    "type": "Type / Type",
    "total": "Combien en tout ; null : inconnu / How many in all; null: not known",
    "next": "À donner comme after pour la page suivante ; null à la fin / To be given as after for the next page; null at "
    "the end",
    "resourceType": "Type FHIR / FHIR type",
    # A declaration.
    "Gestionnaire.base_url": (
        "Base FHIR, http(s), sans paramètres ; publique, ou dans CDS_MANAGER_NETWORKS"
        " / FHIR base, http(s), without parameters; public, or in CDS_MANAGER_NETWORKS"
    ),
    "Gestionnaire.organization": "FINESS de l'organisme / FINESS number of the body that runs it",
    "Gestionnaire.territory": "Départements dont il accueille les personnes / Departments whose people are its own",
    "Gestionnaire.timeout": "Secondes pour une requête ; null : le réglage du courtier / Seconds for one request; null: the "
    "broker's setting",
    "Gestionnaire.max_connections": "Connexions à la fois / Connections at a time",
    "Gestionnaire.optional": (
        "Son absence ne rend pas une réponse partielle / Its absence does not make an answer partial"
    ),
    "Gestionnaire.auth": "Comment s'y authentifier / How to authenticate there",
    "Gestionnaire.identity": "Comment lui dire pour qui / How to tell it for whom",
    "Gestionnaire.tls_ca": "Fichier PEM de qui répond de son serveur / PEM file of who vouches for its server",
    "Gestionnaire.dialect": "Sorte de serveur connue, ou aptitudes une à une : l'emporte sur ce qui fut trouvé / Known kind "
    "of server, or single skills: goes before what was found out",
    "Gestionnaire.search_method": "Comment y chercher / How to search there",
    "Auth.token_env": "Variable qui tient le jeton / Variable that holds the token",
    "Auth.token_file": "Fichier qui tient le jeton / File that holds the token",
    "Auth.username": "Nom d'utilisateur / User name",
    "Auth.password_env": "Variable qui tient le mot de passe / Variable that holds the password",
    "Auth.password_file": "Fichier qui tient le mot de passe / File that holds the password",
    "Auth.client_id": "Identifiant de client OAuth / OAuth client id",
    "Auth.client_secret_env": "Variable qui tient le secret / Variable that holds the secret",
    "Auth.client_secret_file": "Fichier qui tient le secret / File that holds the secret",
    "Auth.token_url": "Serveur de jetons, en https / Token endpoint, by https",
    "Auth.scope": "Portées demandées / Scopes that are asked for",
    "Auth.cert_file": "Certificat client, PEM / Client certificate, PEM",
    "Auth.key_file": "Sa clé, PEM / Its key, PEM",
    "Auth.token_auth": "Manière ; absente : d'après ce qui est donné / Way; left out: by what is given",
    "Auth.resource": "Ressource visée (RFC 8707) / Resource (RFC 8707)",
    "Auth.assertion_key_file": "Clé de l'assertion (RFC 7523), PEM / Key of the assertion (RFC 7523), PEM",
    "Auth.assertion_kid": "Nom de cette clé / Name of that key",
    "Auth.assertion_alg": "Algorithme ; absent : d'après la clé / Algorithm; left out: by the key",
    "Auth.assertion_audience": "Destinataire ; absent : token_url / Audience; left out: token_url",
    "Auth.token_tls_ca": "Fichier PEM de qui répond du serveur de jetons / PEM file of who vouches for the token endpoint",
    "Identity.audience": "Destinataire du JWT / Audience of the JWT",
    "Identity.key_file": "Clé de signature, PEM / Signing key, PEM",
    "Identity.kid": "Nom de cette clé / Name of that key",
    "Identity.alg": "Algorithme ; absent : d'après la clé / Algorithm; left out: by the key",
    "Identity.issuer": "Émetteur ; absent : l'adresse publique du courtier / Issuer; left out: the broker's public address",
    "Identity.header": "En-tête qui le porte / Header that carries it",
    "Identity.purpose": "Code v3-PurposeOfUse convenu / v3-PurposeOfUse code as agreed",
    "Identity.seconds": "Secondes de validité / Seconds for which it is good",
    # What the registry adds.
    "Registered.gestionnaire": "La déclaration / The declaration",
    "Registered.revision": "1, puis +1 à chaque changement / 1, then +1 for each change",
    "Registered.updated_at": "Instant du dernier changement / Instant of the last change",
    "Registered.skills": "Ce qu'il sait faire / What it can do",
    "GestionnaireList.gestionnaires": "Les gestionnaires / The managers",
    "Skills.checked_at": "Instant du dernier examen / Instant of the last check",
    "Skills.unsettled": "Examens de suite restés sans réponse complète, faute de données pour essayer / Checks in a row "
    "that left questions open, for want of data to try with",
    "Skills.software": "Logiciel, selon lui-même / Software, by its own word",
    "Skills.fhir_version": "Version de FHIR / Version of FHIR",
    "Skills.formats": "Formats / Formats",
    "Skills.interactions": "Interactions déclarées, par type / Interactions that it declares, by type",
    "Skills.search_params": "Critères qui fonctionnent, par type / Search parameters that work, by type",
    "Skills.unproven": "Critères crus sur parole / Parameters that are taken on its word",
    "Skills.modifiers": "Modificateurs qui fonctionnent / Modifiers that work",
    "Skills.chaining": "Critères chaînés / Chained criteria",
    "Skills.include": "_include / _include",
    "Skills.iterate": "_include:iterate / _include:iterate",
    "Skills.revinclude": "_revinclude / _revinclude",
    "Skills.sort": "_sort / _sort",
    "Skills.post_search": "POST _search / POST _search",
    "Skills.history_type": "Historique d'un type / History of a type",
    "Skills.history_instance": "Historique d'une ressource / History of a resource",
    "Skills.read": "Lecture / Read",
    "Skills.paging": "Pages suivantes / Next pages",
    "Skills.vread": "Lecture d'une version / Version read",
    "Skills.total": "Bundle.total / Bundle.total",
    "Skills.elements": "_elements / _elements",
    "Skills.broker": "C'est lui-même un courtier / It is itself a broker",
    "Skills.federations": "Fédérations derrière lui / Federations behind it",
    "Skills.max_page": "La plus grande page vue / The largest page that was seen",
    "Skills.lacks": "Ce qui manque, une clé par manque / What is missing, one key for each",
    # The plan of a search.
    "SearchToPlan.search": "Type et critères, comme dans une adresse / Type and criteria, as in an address",
    "SearchPlan.type": "Type cherché / Type that is searched",
    "SearchPlan.criteria": "Noms des critères / Names of the criteria",
    "SearchPlan.ignored": "Critères non compris / Parameters that were not understood",
    "SearchPlan.managers": "Les gestionnaires / The managers",
    "ManagerInPlan.asked": "Interrogé / Asked",
    "ManagerInPlan.reason": "Pourquoi, ou pourquoi pas : une clé / Why, or why not: a key",
    "ManagerInPlan.native": "Critères qu'il applique / Criteria that it applies itself",
    "ManagerInPlan.resolved_here": "Chaînes que le courtier résout / Chains that the broker resolves",
    "ManagerInPlan.filtered_here": "Critères que le courtier applique / Criteria that the broker applies",
    "ManagerInPlan.includes_here": "Le courtier cherche les ressources incluses / The broker fetches what is included",
    "ManagerInPlan.sorted_here": "Le courtier trie / The broker sorts",
    # The index.
    "LocatorStatus.freshness": "Secondes pendant lesquelles l'index fait foi / Seconds for which the index is good",
    "LocatorStatus.circles": "Cercles comptés / Circles counted",
    "LocatorStatus.rotating": "Un nouvel index se remplit / A new index is being filled",
    "LocatorStatus.managers": "Par gestionnaire / By manager",
    "LocatorStatus.generations": "Par génération, la plus ancienne d'abord / By generation, the oldest first",
    "ManagerInLocator.state": "Avancement / How far it is",
    "ManagerInLocator.fresh": "L'index fait foi : là où il ne connaît rien, une recherche ne demande rien / The index "
    "counts: where it knows of nothing, a search asks nothing",
    "ManagerInLocator.as_of": "Tout changement y est jusqu'à cet instant / Every change up to this instant is in it",
    "ManagerInLocator.age": "Âge de as_of, secondes / Age of as_of, seconds",
    "ManagerInLocator.started": "Début du parcours / Begin of the crawl",
    "ManagerInLocator.circles": "Cercles vus / Circles seen",
    "ManagerInLocator.since": "D'où ses changements sont lus, à son horloge / From where its changes are read, by its clock",
    "ManagerInLocator.patients_since": "De même pour les personnes / The same for persons",
    "ManagerInLocator.fence": "Numéro de qui le suit / Number of who follows it",
    "ManagerInLocator.problem": "Ce qui retient l'index / What keeps the index behind",
    "ManagerInLocator.filling": "Avancement du nouvel index / How far the new index is",
    "ManagerInLocator.filling_circles": "Cercles vus pour le nouvel index / Circles seen for the new index",
    "GenerationInLocator.number": "Numéro / Number",
    "GenerationInLocator.key_id": "Nom du secret, qui n'en dit rien / Name of the secret, which tells nothing of it",
    "GenerationInLocator.laid_out_for": "Cercles pour lesquels il est fait / Circles that it is laid out for",
    "GenerationInLocator.ours": "Bâti avec un secret que ce nœud a / Built with a secret that this node has",
    "GenerationInLocator.dropping": "En cours d'effacement / Being deleted",
    "GenerationInLocator.complete": "Gestionnaires complets / Managers that are complete",
    "GenerationInLocator.managers": "Gestionnaires actifs / Active managers",
    "LocatorProblem.key": "Clé du message / Key of the message",
    # Conflicts.
    "ConflictList.conflicts": "Les conflits / The conflicts",
    "ConflictList.as_of": "Instant du dernier examen ; null : jamais / Instant of the last look; null: never",
    "ListedConflict.id": "Nom du conflit / Name of the conflict",
    "ListedConflict.state": "État / State",
    "ListedConflict.since": "Vu d'abord / First seen",
    "ListedConflict.resolved": "Disparu / Seen no more",
    "ListedConflict.published": "Dit dans le journal des changements / Told in the change log",
    "ListedConflict.count": "Nombre de cercles / Number of circles",
    "ListedConflict.circles": "Les cent premiers / The first hundred",
    "ConflictingCircle.reference": "CareTeam/{id}, à lire sous /fhir / CareTeam/{id}, to be read under /fhir",
    "ConflictingCircle.manager": "Le gestionnaire où il est / The manager where it is",
    # Synchronisation.
    "SyncStatus.engine": "kafka ou redis-streams / kafka or redis-streams",
    "SyncStatus.outbox_depth": "Changements à publier / Changes that wait to be published",
    "SyncStatus.outbox_seconds": "Âge du plus ancien, secondes / Age of the oldest, seconds",
    "SyncStatus.publisher": "Le nœud qui publie / The node that publishes",
    "SyncStatus.waiting_for": "Gestionnaires dont les cercles ne peuvent être lus, et combien attendent / Managers whose "
    "circles cannot be read, and how many wait",
    "SyncStatus.subscriptions": "Abonnements, par statut / Subscriptions, by status",
    "SyncStatus.subscribers": "Les abonnés / The subscribers",
    "SyncStatus.bootstraps": "États présents en route / Present states on their way",
    "SubscriberStatus.backlog_events": "Événements de retard ; null : inconnu / Events behind; null: not known",
    "SubscriberStatus.backlog_seconds": "Secondes de retard ; null : inconnu / Seconds behind; null: not known",
    "SubscriberStatus.dead_letters": "Événements inapplicables ; null : inconnu / Dead letters; null: not known",
    "BootstrapStatus.id": "L'abonné / The subscriber",
    "BootstrapStatus.subscription": "Son abonnement / Its Subscription",
    "BootstrapStatus.manager": "Le gestionnaire dont les cercles sont envoyés / The manager whose circles are sent",
    "BootstrapStatus.state": "Avancement / How far it is",
    "BootstrapStatus.read": "Cercles lus / Circles read",
    "BootstrapStatus.sent": "Cercles envoyés / Circles sent",
    "BootstrapStatus.failed": "Cercles qui n'ont pu être envoyés / Circles that could not be sent",
    "BootstrapStatus.problem": "Ce qui le retient : une clé / What keeps it: a key",
    # The trail.
    "AuditPage.node": "Le nœud qui tient cette trace / The node that keeps this trail",
    "AuditPage.records": "Les lignes / The lines",
    "AuditRecord.stream": "La chaîne dont c'est une ligne / The chain that it is a line of",
    "AuditRecord.number": "Son numéro / Its number",
    "AuditRecord.event": "L'AuditEvent FHIR / The FHIR AuditEvent",
    # Errors.
    "Problem.type": "Son type, à lire sous /registry/problems / Its type, to be read under /registry/problems",
    "Problem.title": "Le statut, en mots / The status, in words",
    "Problem.status": "Le statut HTTP / The HTTP status",
    "Problem.detail": "Les deux textes / Both texts",
    "Problem.errors": "Tous les champs refusés / Every field that was refused",
    "FieldProblem.field": "Chemin du champ / Path of the field",
    "ProblemType.title": "Le statut, en mots / The status, in words",
    "ProblemType.status": "Le statut HTTP / The HTTP status",
    "Bundle.type": "searchset ou history / searchset or history",
    "Bundle.link": "self, next / self, next",
    "Bundle.entry": "Les ressources / The resources",
    "Bundle.total": "Combien en tout / How many in all",
    "Organization.id": "L'identifiant du gestionnaire / The manager's id",
    "Endpoint.address": "Base FHIR du gestionnaire / The manager's FHIR base",
    "CapabilityStatement.rest": "Ce qui est offert / What is offered",
    "CapabilityStatement.fhirVersion": "Version de FHIR / Version of FHIR",
    "OperationOutcome.issue": "Ce qui ne va pas, dans la langue demandée / What is wrong, in the language asked for",
}
