"""The page of the federation."""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, tuple[str, str]] = {
    "federation.title": ("Fédération", "Federation"),
    "federation.summary": (
        "{up} en service, {slow} lents, {failing} en échec, {suspended} suspendus, {unknown} pas encore interrogés",
        "{up} up, {slow} slow, {failing} failing, {suspended} suspended, {unknown} not asked yet",
    ),
    "federation.map": ("Régions", "Regions"),
    "federation.managers": ("Gestionnaires", "Managers"),
    "federation.caption": (
        "Gestionnaires, tels que ce nœud du courtier les voit",
        "Managers, as this node of the broker sees them",
    ),
    "federation.nobody": (
        "Aucun gestionnaire n'est encore inscrit au registre.",
        "No manager is in the registry yet.",
    ),
    "federation.out": (
        "L'index des cercles ne répond pas : les cercles détenus et la couverture manquent.",
        "The index of circles does not answer: circles held and coverage are missing.",
    ),
    "federation.legend": (
        (
            "Lent : une minute à plus d'une seconde en moyenne. En échec : disjoncteur ouvert, ou deux échanges de suite "
            "sans réponse utilisable. Latence et erreurs sont celles de la dernière minute ; les courbes, des dix "
            "dernières. Tant que cette page est ouverte, chaque gestionnaire est interrogé toutes les deux secondes."
        ),
        (
            "Slow: a minute at more than a second on average. Failing: its breaker is open, or two exchanges in a row "
            "gave no usable answer. Latency and errors are those of the last minute, curves of the last ten. While this "
            "page is open every manager is asked every two seconds."
        ),
    ),
    "federation.circles-total": ("{count} cercles dans l'index", "{count} circles in the index"),
    "federation.manager": ("Gestionnaire", "Manager"),
    "federation.state": ("État", "State"),
    "federation.latency": ("Latence", "Latency"),
    "federation.errors": ("Erreurs", "Errors"),
    "federation.breaker": ("Disjoncteur", "Breaker"),
    "federation.in-flight": ("En cours", "In flight"),
    "federation.circles": ("Cercles", "Circles"),
    "federation.coverage": ("Couverture", "Coverage"),
    "federation.lag": ("Retard", "Lag"),
    "federation.spark": ("Dix minutes", "Ten minutes"),
    "federation.spark-none": ("Aucun échange en dix minutes", "No exchange in ten minutes"),
    "federation.spark-label": (
        "Latence sur dix minutes, {most} au plus ; {failed} intervalles de dix secondes avec un échec",
        "Latency over ten minutes, {most} at most; {failed} intervals of ten seconds with a failure",
    ),
    "federation.age": ("il y a {age}", "{age} ago"),
    "federation.not-fresh": ("interrogé à chaque recherche", "asked by every search"),
    "federation.no-lag": ("n'est pas abonné", "not subscribed"),
    "federation.lag-events": ("{events} événements, {age}", "{events} events, {age}"),
    "federation.letters": ("{count} lettres mortes", "{count} dead letters"),
    "federation.next-probe": ("essai dans {age}", "probed in {age}"),
    "federation.of-total": ("sur {total}", "of {total}"),
    "federation.share": ("{some} sur {all}", "{some} of {all}"),
    "federation.region-of": ("{region}, {slug}", "{region}, {slug}"),
    "state.up": ("En service", "Up"),
    "state.slow": ("Lent", "Slow"),
    "state.failing": ("En échec", "Failing"),
    "state.suspended": ("Suspendu", "Suspended"),
    "state.unknown": ("Pas encore interrogé", "Not asked yet"),
    "state.empty": ("Pas de gestionnaire", "No manager"),
    "breaker.closed": ("fermé", "closed"),
    "breaker.open": ("ouvert", "open"),
    "breaker.half-open": ("à l'essai", "half-open"),
    "coverage.none": ("rien", "nothing"),
    "coverage.crawling": ("en cours", "under way"),
    "coverage.complete": ("complète", "complete"),
}
