"""The OpenAPI 3.1 document of everything under `/registry`, made of the operations, the policy and the messages.

Statuses follow from message keys: those that an operation names, and those of what may befall any request. So a status is
in the document because a message has it, with that message as its example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from broker import __version__
from broker.core.access.policy import POLICY, Need
from broker.core.messages import MESSAGES
from broker.core.outcome import render_error
from broker.errors import BrokerError
from broker.gateway.openapi_declaration import DECLARATION
from broker.gateway.openapi_examples import ANSWERS, BODIES, PARAMS
from broker.gateway.openapi_schemas import SLUG_SCHEMA, component_schemas, schema_of
from broker.gateway.problem import CONTENT_TYPE as PROBLEM
from broker.gateway.problem import Problem, problem_of, title_of
from broker.gateway.registry_fhir_operations import BASE, KIND, fhir_operations_by_kind
from broker.gateway.registry_operations import (
    AUDIT,
    CONFLICTS,
    FHIR_JSON,
    FORM,
    LOCATOR_OPERATIONS,
    ONE,
    OPERATIONS,
    PLAN,
    SYNC_OPERATIONS,
    Operation,
    Parameter,
)
from registry.model import Gestionnaire

Json = dict[str, Any]

ALL_OPERATIONS: Final[Sequence[Operation]] = (
    *OPERATIONS,
    PLAN,
    *LOCATOR_OPERATIONS,
    CONFLICTS,
    *SYNC_OPERATIONS,
    AUDIT,
    *fhir_operations_by_kind(),
)

_ANY: Final = ("request.malformed", "limit.rate", "internal")
_GUARDED: Final = ("access.missing", "access.keys", "federation.store", "audit.unavailable")
_WITH_BODY: Final = ("registry.bad-json", "request.too-large", "request.content-type")
_BELOW: Final = ("limit.slow-body", "limit.line", "request.expectation", "limit.header")
"""Said before it is known what was asked for: as FHIR's OperationOutcome, whatever that was."""

_INFO: Final = """\
Le registre des gestionnaires et ce qu'on administre avec lui. Sous CDS_AUTH=none rien n'est demandé de qui appelle ;
sous oidc un jeton, sous mtls un certificat. Une requête refusée avant d'être lue (408, 414, 417, 431, et 400 si ce n'est
pas du HTTP) l'est par un OperationOutcome. Les erreurs sont dites en français et en anglais. HEAD vaut partout où GET vaut.

The registry of managers and what is administered with it. Under CDS_AUTH=none nothing is asked of callers; under oidc a
token, under mtls a certificate. A request that is refused before it is read (408, 414, 417, 431, and 400 where it is no
HTTP) is refused with an OperationOutcome. Errors are told in French and in English. HEAD is taken wherever GET is."""

_TAGS: Final[Mapping[str, str]] = {
    "gestionnaires": "Les gestionnaires / The managers",
    "plan": "Qui une recherche interroge / Who a search asks",
    "locator": "L'index des cercles / The index of circles",
    "conflicts": "Personnes à plusieurs cercles / Persons with several circles",
    "synchronisation": "Abonnés et états présents / Subscribers and present states",
    "audit": "La trace des accès / The trail of accesses",
    "fhir": "Le registre en FHIR (IHE mCSD), en lecture / The registry as FHIR (IHE mCSD), read-only",
    "description": "Ce qui décrit les autres / What describes the others",
}

_HEADERS: Final[Mapping[str, Json]] = {
    "X-Request-Id": {
        "description": "L'identifiant de la requête, aussi dans la trace / The request's id, in the trail too",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "La révision, pour If-Match / The revision, for If-Match",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]{1,15}"$', "examples": ['"3"']},
    },
    "ETagWeak": {
        "description": "La version / The version",
        "required": True,
        "schema": {"type": "string", "pattern": '^W/"[0-9]{1,15}"$', "examples": ['W/"3"']},
    },
    "Location": {
        "description": "L'adresse de ce qui fut fait / The address of what was made",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference", "examples": ["/registry/gestionnaires/bre"]},
    },
    "WWW-Authenticate": {
        "description": "Ce qui est demandé (RFC 6750) / What is asked for (RFC 6750)",
        "schema": {"type": "string", "examples": ['Bearer realm="cds-broker"']},
    },
    "Retry-After": {
        "description": "Secondes à attendre / Seconds to wait",
        "schema": {"type": "string", "pattern": "^[0-9]+$", "examples": ["1"]},
    },
}
_OF_STATUS: Final = {401: "WWW-Authenticate", 429: "Retry-After"}


def openapi_document() -> Json:
    """Whole, as it is served. The same for every broker of this version: it names no address and no setting."""
    paths: dict[str, Json] = {}
    for operation in ALL_OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    types = [
        of
        for one in ALL_OPERATIONS
        for of in (one.answer, one.body)
        if of is not None and not isinstance(of, str)
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cds-broker: registre des gestionnaires / registry of managers",
            "version": __version__,
            "description": _INFO,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Le courtier qui le dit / The broker that says so"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": component_schemas([*types, Problem]),
            "responses": {str(MESSAGES[key].status): _refusal(FHIR_JSON, [key]) for key in _BELOW},
            "examples": {
                _example_name(media, key): {"value": _example(media, key)} for media, key in _told_as()
            },
            "headers": dict(_HEADERS),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "CDS_AUTH=oidc ; portées du jeton / scopes of the token",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "CDS_AUTH=mtls ; portées de CDS_CLIENTS / scopes of CDS_CLIENTS",
                },
            },
        },
    }


def message_keys(operation: Operation) -> Sequence[str]:
    """What may go wrong in an operation, as keys of messages."""
    need = _need(operation)
    keys = [*operation.errors, *_ANY]
    if not need.is_public:
        keys += [*_GUARDED, "access.role" if need.roles else "access.scope"]
    if operation.body is not None:
        keys += _WITH_BODY
    return keys


def _need(operation: Operation) -> Need:
    """Of an operation that the policy does not know: of nobody's, which a test does not let pass."""
    path = operation.path
    if path.startswith(f"{BASE}/") and path != f"{BASE}/metadata":
        path = f"{BASE}/{KIND}/" + path.removeprefix(f"{BASE}/").partition("/")[2]
    return POLICY[operation.method, path.rstrip("/")].need


def _operation(operation: Operation) -> Json:
    document: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": _security(_need(operation)),
        "responses": {str(operation.status): _answer(operation), **_refusals(operation)},
    }
    if parameters := [*_path_parameters(operation), *map(_parameter, operation.parameters)]:
        document["parameters"] = parameters
    if operation.body is not None:
        document["requestBody"] = {
            "required": True,
            "content": {
                media: _content(
                    DECLARATION if operation.body is Gestionnaire else operation.body, BODIES[operation.id]
                )
                for media in operation.bodies
            },
        }
        if FORM in document["requestBody"]["content"]:
            del document["requestBody"]["content"][FORM]["example"]
    return document


def _security(need: Need) -> list[Json]:
    """Each scheme grants the same; an empty list: nothing is asked for."""
    if need.is_public:
        return []
    scopes = [
        *(f"cds/{role}" for role in need.roles),
        *(f"system/{right.on}.{right.permission}" for right in need.rights),
    ]
    return [{"token": scopes}, {"certificate": scopes}]


def _answer(operation: Operation) -> Json:
    headers = {"X-Request-Id": _header("X-Request-Id")}
    if operation.etag:
        headers["ETag"] = _header("ETag" if operation.etag == "strong" else "ETagWeak")
    if operation.makes:
        headers["Location"] = _header("Location")
    answer: Json = {"description": operation.summary, "headers": headers}
    if operation.answer is not None:
        answer["content"] = {operation.media: _content(operation.answer, ANSWERS.get(operation.id))}
    if links := dict(_links(operation)):
        answer["links"] = links
    return answer


def _links(operation: Operation) -> Iterator[tuple[str, Json]]:
    """What can be done next with the manager that an answer shows."""
    if operation.answer is not OPERATIONS[1].answer or operation.etag != "strong":
        return
    for one in OPERATIONS:
        if one.path.startswith(ONE) and one is not operation:
            link: Json = {"operationId": one.id, "parameters": {"id": "$response.body#/gestionnaire/id"}}
            if one.body is not None:
                link["requestBody"] = "$response.body#/gestionnaire"
            yield one.id, link


def _refusals(operation: Operation) -> Json:
    """By status: a description that names the types of problems, and an example of each."""
    media = _errors_as(operation)
    by_status: dict[int, list[str]] = {}
    for key in message_keys(operation):
        by_status.setdefault(MESSAGES[key].status, []).append(key)
    shared = {MESSAGES[key].status for key in _BELOW}
    answers = {status: _refusal(media, keys) for status, keys in by_status.items() if status not in shared}
    below = {status: {"$ref": f"#/components/responses/{status}"} for status in shared}
    return {str(status): answer for status, answer in sorted({**answers, **below}.items())}


def _refusal(media: str, keys: Sequence[str]) -> Json:
    status = MESSAGES[keys[0]].status
    headers = {"X-Request-Id": _header("X-Request-Id")} if status not in (408, 414, 417, 431) else {}
    if status in _OF_STATUS:
        headers[_OF_STATUS[status]] = _header(_OF_STATUS[status])
    schema = schema_of("OperationOutcome" if media == FHIR_JSON else Problem)
    examples = {key: {"$ref": f"#/components/examples/{_example_name(media, key)}"} for key in keys}
    answer: Json = {
        "description": title_of(status),
        "content": {media: {"schema": schema, "examples": examples}},
    }
    return answer | ({"headers": headers} if headers else {})


def _errors_as(operation: Operation) -> str:
    return FHIR_JSON if operation.path.startswith(f"{BASE}/") else PROBLEM


def _told_as() -> Sequence[tuple[str, str]]:
    """Each message with each form that it is told in."""
    told = {(_errors_as(one), key) for one in ALL_OPERATIONS for key in message_keys(one)}
    return sorted(told | {(FHIR_JSON, key) for key in _BELOW})


def _example_name(media: str, key: str) -> str:
    return f"outcome.{key}" if media == FHIR_JSON else key


def _example(media: str, key: str) -> Any:
    error = BrokerError(key, **PARAMS)
    if media == FHIR_JSON:
        return orjson.loads(render_error(error))
    return msgspec.to_builtins(problem_of(error))


def _content(of: Any, example: Any) -> Json:
    content: Json = {"schema": schema_of(of)}
    if example is not None:
        content["example"] = msgspec.to_builtins(example)
    return content


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def _path_parameters(operation: Operation) -> Iterator[Json]:
    if "{id}" in operation.path:
        yield {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "Le gestionnaire / The manager",
            "schema": dict(SLUG_SCHEMA),
        }
    if "{vid}" in operation.path:
        yield {
            "name": "vid",
            "in": "path",
            "required": True,
            "description": "La version / The version",
            "schema": {"type": "string", "pattern": "^[0-9]{1,15}$", "examples": ["1"]},
        }


def _parameter(one: Parameter) -> Json:
    return {
        "name": one.name,
        "in": one.where,
        "required": False,
        "description": one.text,
        "schema": dict(one.schema),
    }
