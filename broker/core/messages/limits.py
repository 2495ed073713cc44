"""What is too much: of a request, of its sender, of an answer that nobody takes."""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.messages.message import Message

ROWS: Mapping[str, Message] = {
    "limit.line": Message(
        414,
        "error",
        "too-long",
        "Adresse trop longue : {limit} octets au plus ; utilisez POST _search.",
        "Address too long: at most {limit} bytes; use POST _search.",
    ),
    "limit.header": Message(
        431,
        "error",
        "too-long",
        "En-tête trop long : {limit} octets au plus.",
        "Header too long: at most {limit} bytes.",
    ),
    "limit.headers": Message(
        431,
        "error",
        "too-long",
        "Trop d'en-têtes : {count} et {limit} octets au plus.",
        "Too many headers: at most {count}, and {limit} bytes.",
    ),
    "limit.nesting": Message(
        400,
        "error",
        "too-long",
        "Le corps est trop imbriqué : {limit} niveaux au plus.",
        "The body is nested too deep: at most {limit} levels.",
    ),
    "limit.parameter": Message(
        400,
        "error",
        "too-long",
        "Paramètre trop long : {parameter}, {limit} caractères au plus.",
        "Parameter too long: {parameter}, at most {limit} characters.",
    ),
    "limit.includes": Message(
        400,
        "error",
        "too-costly",
        "Trop d'inclusions : {limit} au plus.",
        "Too many includes: at most {limit}.",
    ),
    "limit.pages": Message(
        200,
        "warning",
        "too-costly",
        "La suite n'est pas proposée au-delà de {limit} pages : précisez la recherche.",
        "No further page is offered beyond {limit} pages: narrow the search.",
    ),
    "limit.rate": Message(
        429,
        "error",
        "throttled",
        "Trop de requêtes : {limit} par seconde au plus.",
        "Too many requests: at most {limit} a second.",
    ),
    "limit.concurrent": Message(
        429,
        "error",
        "throttled",
        "Trop de requêtes à la fois : {limit} au plus.",
        "Too many requests at a time: at most {limit}.",
    ),
    "limit.connections": Message(
        429,
        "error",
        "throttled",
        "Trop de connexions : {limit} au plus.",
        "Too many connections: at most {limit}.",
    ),
    "limit.slow-head": Message(
        408,
        "error",
        "timeout",
        "La requête n'est pas arrivée en {limit} secondes.",
        "The request did not arrive within {limit} seconds.",
    ),
    "limit.slow-body": Message(
        408,
        "error",
        "timeout",
        "Le corps de la requête n'est pas arrivé en {limit} secondes.",
        "The body of the request did not arrive within {limit} seconds.",
    ),
}
