"""The settings of what a client may ask for, and how fast; and the table that the README shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic_settings import BaseSettings

from broker.settings_fields import Bytes, Seconds, doc


class LimitSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    limit_line: Annotated[
        Bytes, doc("longest address of a request, bytes", "plus longue adresse d'une requête, octets")
    ] = 65_536
    limit_header: Annotated[
        Bytes,
        doc("longest header of a request, bytes", "plus long en-tête d'une requête, octets"),
    ] = 65_536
    limit_headers: Annotated[
        int, doc("headers of a request at most", "en-têtes d'une requête, au plus", ge=16, le=1_000)
    ] = 100
    limit_head: Annotated[
        Bytes,
        doc(
            "request line and headers together, bytes; not below the two before",
            "ligne de requête et en-têtes ensemble, octets ; pas moins que les deux précédents",
        ),
    ] = 262_144
    limit_nesting: Annotated[
        int,
        doc(
            "levels of elements in a body that a client writes",
            "niveaux d'imbrication d'un corps écrit par un client",
            ge=8,
            le=64,
        ),
    ] = 64
    limit_parameters: Annotated[
        int, doc("parameters of a search at most", "paramètres d'une recherche, au plus", ge=1, le=1_000)
    ] = 100
    limit_parameter: Annotated[
        int,
        doc(
            "longest parameter of a search, name and value, characters",
            "plus long paramètre d'une recherche, nom et valeur, caractères",
            ge=256,
        ),
    ] = 65_536
    limit_includes: Annotated[
        int,
        doc("_include and _revinclude of a search at most", "inclusions d'une recherche, au plus", ge=1),
    ] = 30
    limit_iterate: Annotated[
        int,
        doc(
            "rounds for which the broker itself follows _include:iterate; what is left out is said",
            "tours pendant lesquels le courtier suit _include:iterate ; ce qui manque est dit",
            ge=1,
            le=20,
        ),
    ] = 5
    limit_included: Annotated[
        int,
        doc(
            "resources that the broker fetches from one manager for the includes of a page; what is left out is said",
            "ressources lues chez un gestionnaire pour les inclusions d'une page ; ce qui manque est dit",
            ge=1,
            le=100_000,
        ),
    ] = 1_000
    limit_pages: Annotated[
        int,
        doc(
            "pages of one search that are offered one after the other; the last one says so",
            "pages successives d'une même recherche ; la dernière le dit",
            ge=1,
        ),
    ] = 10_000
    limit_rate: Annotated[
        float,
        doc(
            "requests a second of one client over all workers and nodes; a second's worth at once; CDS_CLIENTS may differ",
            "requêtes par seconde d'un client, tous processus et nœuds confondus ; CDS_CLIENTS peut en décider autrement",
            gt=0,
            le=1_000_000,
        ),
    ] = 500.0
    limit_concurrent: Annotated[
        int,
        doc(
            "requests of one client in progress at a time, in each worker",
            "requêtes simultanées d'un client, par processus",
            ge=1,
        ),
    ] = 256
    limit_address_rate: Annotated[
        float,
        doc(
            "requests a second of one address in each worker, whoever it says to be; not of trusted proxies themselves",
            "requêtes par seconde d'une adresse, par processus, avant toute identification ; hors mandataires",
            gt=0,
            le=1_000_000,
        ),
    ] = 2_000.0
    limit_address_concurrent: Annotated[
        int,
        doc(
            "requests of one address in progress at a time, in each worker",
            "requêtes simultanées d'une adresse, par processus",
            ge=1,
        ),
    ] = 512
    limit_address_connections: Annotated[
        int,
        doc(
            "connections of one address, in each worker; not of trusted proxies",
            "connexions d'une adresse, par processus ; hors mandataires",
            ge=1,
        ),
    ] = 512
    limit_connections: Annotated[
        int,
        doc(
            "connections of all clients, in each worker; fewer where the system grants fewer descriptors",
            "connexions de tous les clients, par processus ; moins si le système accorde moins de descripteurs",
            ge=1,
        ),
    ] = 4_096
    limit_head_seconds: Annotated[
        Seconds,
        doc(
            "seconds for a TLS handshake, and for the head of a request from its first byte, or the connection's",
            "secondes pour la négociation TLS, et pour l'en-tête d'une requête",
        ),
    ] = 10.0
    limit_body_seconds: Annotated[
        Seconds, doc("seconds for the body of a request", "secondes pour le corps d'une requête")
    ] = 30.0
    limit_answer_seconds: Annotated[
        Seconds,
        doc(
            "in each so many seconds a client takes 64 KiB of its answer, or all, or it is cut off",
            "délai pendant lequel un client prend 64 Kio de sa réponse, ou toute, sans quoi il est coupé",
        ),
    ] = 30.0
    limit_idle_seconds: Annotated[
        Seconds,
        doc(
            "seconds for which a connection is kept without a request",
            "secondes de maintien d'une connexion sans requête",
        ),
    ] = 75.0


@dataclass(frozen=True, slots=True)
class Limit:
    """`setting`: its field. `answer`: what whoever passes it gets."""

    setting: str
    answer: str


LIMITS: Final = (
    Limit("limit_line", "414"),
    Limit("limit_header", "431"),
    Limit("limit_headers", "431"),
    Limit("limit_head", "431"),
    Limit("max_request_bytes", "413, also where a compressed body unfolds to more"),
    Limit("limit_nesting", "400"),
    Limit("limit_parameters", "400"),
    Limit("limit_parameter", "400"),
    Limit("max_count", "a smaller page"),
    Limit("limit_includes", "400"),
    Limit("limit_iterate", "200, and the outcome says what is missing"),
    Limit("limit_included", "200, and the outcome says what is missing"),
    Limit("limit_pages", "200 without `next`, and the outcome says so"),
    Limit("limit_rate", "429 with `Retry-After`"),
    Limit("limit_concurrent", "429 with `Retry-After`"),
    Limit("limit_address_rate", "429 with `Retry-After`"),
    Limit("limit_address_concurrent", "429 with `Retry-After`"),
    Limit("limit_address_connections", "429, and the connection is closed"),
    Limit("limit_connections", "429, and the connection is closed"),
    Limit("limit_head_seconds", "408, and the connection is closed"),
    Limit("limit_body_seconds", "408, and the connection is closed"),
    Limit("limit_answer_seconds", "the connection is cut"),
    Limit("limit_idle_seconds", "the connection is closed"),
    Limit("max_answer_bytes", "of a manager, also unfolded: its part is missing, and the outcome says so"),
)
"""Each is a line of the README, made by `broker.commands.limits_table`, and has its test."""
