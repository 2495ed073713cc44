"""Errors under `/registry` as problem documents (RFC 9457), made from the one table of messages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from broker.core.messages import MESSAGES, text
from broker.errors import BrokerError, RequestError
from broker.gateway.fhir_request import REASON
from registry.validation import InvalidDeclarationError

PROBLEMS_PATH = "/registry/problems"
CONTENT_TYPE = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger("broker.registry")

_TITLES: Mapping[int, str] = {
    400: "Requête mal formée / Bad request",
    401: "Authentification demandée / Unauthorized",
    403: "Accès refusé / Forbidden",
    404: "Inconnu / Not found",
    405: "Méthode non offerte / Method not allowed",
    406: "Format non offert / Not acceptable",
    408: "Trop lent / Request timeout",
    409: "Conflit / Conflict",
    410: "Supprimé / Gone",
    412: "Précondition non remplie / Precondition failed",
    413: "Trop volumineux / Too large",
    414: "Adresse trop longue / Address too long",
    415: "Type de contenu non accepté / Unsupported media type",
    417: "Attente non satisfaite / Expectation failed",
    422: "Déclaration invalide / Invalid declaration",
    429: "Trop de requêtes / Too many requests",
    431: "En-têtes trop volumineux / Headers too large",
    500: "Erreur interne / Internal error",
    501: "Non offert / Not implemented",
    502: "Réponse inutilisable du gestionnaire / Bad answer from the manager",
    503: "Indisponible / Unavailable",
    504: "Délai dépassé / Timeout",
    508: "Boucle entre courtiers / Loop between brokers",
}


class FieldProblem(msgspec.Struct, frozen=True):
    """One wrong field of a declaration: its dotted path and the reason."""

    field: str
    fr: str
    en: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457, with the detail in each language and the wrong fields as extensions."""

    type: str
    title: str
    status: int
    detail: str
    fr: str
    en: str
    errors: tuple[FieldProblem, ...] = ()


class ProblemType(msgspec.Struct, frozen=True):
    """One row of the table of problem types; the texts hold placeholders in braces."""

    type: str
    title: str
    status: int
    fr: str
    en: str


def problem_of(error: BrokerError) -> Problem:
    """The document that tells of an error."""
    key = error.key if error.key in MESSAGES else "internal"
    status = MESSAGES[key].status
    fields: tuple[FieldProblem, ...] = ()
    fr, en = text(key, "fr", **error.params), text(key, "en", **error.params)
    if isinstance(error, InvalidDeclarationError):
        fields = tuple(FieldProblem(one.field, one.fr, one.en) for one in error.problems)
        fr = "Déclaration invalide : " + error.line("fr")
        en = "Invalid declaration: " + error.line("en")
    return Problem(type_of(key), title_of(status), status, f"{fr} / {en}", fr, en, fields)


def type_of(key: str) -> str:
    """A problem's type: a reference to its row in the table served at `PROBLEMS_PATH`."""
    return f"{PROBLEMS_PATH}#{key}"


def title_of(status: int) -> str:
    return _TITLES.get(status, "Erreur / Error")


def problem_types() -> list[ProblemType]:
    """Every message that an answer may be refused with; not what is said to whoever starts a broker."""
    return [
        ProblemType(type_of(key), title_of(row.status), row.status, row.fr, row.en)
        for key, row in MESSAGES.items()
        if row.status >= 400 and not key.startswith(("config.", "demo."))
    ]


def problem_response(error: BrokerError, headers: Mapping[str, str] | None = None) -> web.Response:
    problem = problem_of(error)
    more = {} if error.challenge is None else {"WWW-Authenticate": error.challenge}
    if error.retry_after is not None:
        more["Retry-After"] = str(error.retry_after)
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **more, **(headers or {})},
    )


def translating(
    handler: Handler, respond: Callable[[web.Request, BrokerError], web.StreamResponse]
) -> Handler:
    """`handler`, with whatever it raises turned into an answer by `respond`."""

    def told(request: web.Request, error: BrokerError) -> web.StreamResponse:
        request[REASON] = error.key
        return respond(request, error)

    async def translated(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BrokerError as error:
            return told(request, error)
        except web.RequestPayloadError:  # a body that is not what its coding or framing says
            return respond(request, RequestError("request.malformed"))
        except web.HTTPException as error:
            answer = told(request, _from_http(request, error))
            if isinstance(error, web.HTTPMethodNotAllowed):
                answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            return answer
        except Exception:  # noqa: BLE001 - the boundary to the client: it gets a document and never a traceback
            _log.exception("registry request failed")
            return told(request, BrokerError("internal"))

    return translated


def _from_http(request: web.Request, error: web.HTTPException) -> BrokerError:
    match error.status:
        case 404:
            return RequestError("request.not-found")
        case 405:
            return RequestError("request.method")
        case 413:
            return RequestError("request.too-large", limit=request.client_max_size)
        case _:
            raise error
