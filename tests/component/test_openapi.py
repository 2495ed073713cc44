"""`/registry/openapi.json`: what it describes is what there is, down to every status, schema and text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from broker.core.access.policy import POLICY
from broker.core.mcsd import VIEWS
from broker.core.messages import MESSAGES
from broker.gateway.openapi_document import ALL_OPERATIONS, message_keys, openapi_document
from broker.gateway.problem import problem_types
from broker.gateway.registry_fhir_operations import KIND
from tests.support.entitled import entitled
from tests.support.federation import federation
from tests.support.valkey import Valkey

Json = dict[str, Any]

DOCUMENT = json.loads(json.dumps(openapi_document()))
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
IDS = [name for name, _ in OPERATIONS]


def by_kind(route: tuple[str, str]) -> Iterator[tuple[str, str]]:
    method, path = route
    for kind in VIEWS if KIND in path else ("",):
        yield method, path.replace(KIND, kind)


def resolved(node: Json) -> Json:
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def validates(schema: Json, instance: Any) -> None:
    """Raises where it does not. `schema` may refer into the document."""
    validator = jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )
    validator.validate(instance)


async def test_every_route_is_described_and_the_other_way_round(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entitled(valkey, monkeypatch) as world:
        routes = {
            route
            for one in world.app.router.routes()
            if one.method != "HEAD" and one.resource is not None
            for route in by_kind((one.method, one.resource.canonical))
            if route[1].startswith("/registry")
        }
        served = await world.ask(None, "GET", "/registry/openapi.json")
    assert {tuple(name.split(" ")) for name in IDS} == routes
    assert served.json == DOCUMENT


def test_its_security_is_that_of_the_policy() -> None:
    for route, interaction in POLICY.items():
        for method, path in by_kind(route):
            if not path.startswith("/registry"):
                continue
            scopes = {
                *(f"cds/{role}" for role in interaction.need.roles),
                *(f"system/{one.on}.{one.permission}" for one in interaction.need.rights),
            }
            operation = DOCUMENT["paths"][path][method.lower()]
            expected = [{"token": scopes}, {"certificate": scopes}] if scopes else []
            told = [{name: set(of) for name, of in one.items()} for one in operation["security"]]
            assert told == expected, path
            assert ("401" in operation["responses"]) == bool(scopes), path
            assert set(expected[0] if expected else ()) <= set(DOCUMENT["components"]["securitySchemes"])


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=IDS)
def test_each_answer_has_its_media_type_schema_and_example(name: str, operation: Json) -> None:
    fhir = " /registry/fhir/" in name
    for status, named in operation["responses"].items():
        answer = resolved(named)
        if status == "204":
            assert "content" not in answer
            continue
        [(media, content)] = answer["content"].items()
        if int(status) < 400:
            assert media == ("application/fhir+json" if fhir else "application/json")
        elif status in ("408", "414", "417", "431"):
            assert media == "application/fhir+json"
        else:
            assert media == ("application/fhir+json" if fhir else "application/problem+json")
        examples = [one["value"] for one in map(resolved, content.get("examples", {}).values())]
        examples += [content["example"]] if "example" in content else []
        assert examples or int(status) < 400
        for example in examples:
            validates(content["schema"], example)
    headers = {status: set(resolved(of).get("headers", ())) for status, of in operation["responses"].items()}
    assert "Retry-After" in headers["429"]
    assert "WWW-Authenticate" in headers.get("401", {"WWW-Authenticate"})


@pytest.mark.parametrize(
    ("name", "operation"),
    [one for one in OPERATIONS if "requestBody" in one[1]],
    ids=lambda one: str(one)[:40],
)
def test_each_body_has_an_example_that_fits(name: str, operation: Json) -> None:
    content = operation["requestBody"]["content"]["application/json"]
    validates(content["schema"], content["example"])
    with pytest.raises(jsonschema_rs.ValidationError):
        validates(content["schema"], {**content["example"], "colour": "red"})


@pytest.mark.parametrize("path", ["/registry/problems", "/registry/fhir/metadata"])
async def test_a_refusal_for_the_rate_says_when_to_come_back(valkey: Valkey, path: str) -> None:
    async with federation(valkey, limit_rate=1.0) as broker:
        url = broker.base_url.removesuffix("/fhir") + path
        answers = [await broker.get(url) for _ in range(2)]
    assert [one.status for one in answers] == [200, 429]
    assert int(answers[1].headers["Retry-After"]) >= 1


def test_the_statuses_of_errors_are_those_of_their_messages() -> None:
    for operation in ALL_OPERATIONS:
        keys = set(message_keys(operation))
        assert keys <= MESSAGES.keys()
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
        below = {408, 414, 417, 431}
        told = {int(status) for status in described} - {operation.status}
        assert told == {MESSAGES[key].status for key in keys} | below


def test_every_problem_that_is_described_is_in_the_table_of_problems() -> None:
    table = {one.type.partition("#")[2] for one in problem_types()}
    assert {key for one in ALL_OPERATIONS for key in message_keys(one)} <= table
    assert all(one.status >= 400 for one in problem_types())


def test_every_text_is_french_and_english() -> None:
    def texts(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
        if isinstance(node, dict):
            for name, inner in node.items():
                if name in ("description", "summary") and isinstance(inner, str):
                    yield path, inner
                elif name not in ("example", "examples"):
                    yield from texts(inner, f"{path}/{name}")
        elif isinstance(node, list):
            for inner in node:
                yield from texts(inner, path)

    found = [*texts(DOCUMENT)]
    assert len(found) > 300
    assert [(path, text) for path, text in found if " / " not in text and path != "/info"] == []
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        for field, of in schema.get("properties", {}).items():
            assert "description" in of or "const" in of, (name, field)


def test_every_reference_leads_somewhere_and_every_component_is_referred_to() -> None:
    text = json.dumps(DOCUMENT)
    referred = set(re.findall(r'"\$ref": "#/components/(\w+/[^"]+)"', text))
    there = {
        f"{kind}/{name}"
        for kind, named in DOCUMENT["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert referred == there


def test_operations_have_names_of_their_own_and_a_tag_that_is_told() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    used = {tag for _, operation in OPERATIONS for tag in operation["tags"]}
    assert used == {tag["name"] for tag in DOCUMENT["tags"]}


@pytest.mark.parametrize(
    ("auth", "fits"),
    [
        ({}, True),
        ({"type": "none"}, True),
        ({"type": "bearer", "token_env": "CDS_TOKEN"}, True),
        ({"type": "bearer", "token_file": "/run/secrets/token", "token_env": None}, True),
        ({"type": "bearer"}, False),
        ({"type": "bearer", "token_env": "the-secret-itself"}, False),
        ({"token_env": "CDS_TOKEN"}, False),
        ({"type": "basic", "password_env": "CDS_PASSWORD"}, False),
        ({"type": "mtls", "cert_file": "c.pem", "key_file": "k.pem"}, True),
        (
            {"type": "oauth2", "token_url": "https://a.example/t", "client_id": "c", "cert_file": "c.pem"},
            True,
        ),
        ({"type": "oauth2", "token_url": "https://a.example/t", "client_id": "c"}, False),
    ],
)
def test_a_declaration_is_described_as_it_is_checked(auth: Json, *, fits: bool) -> None:
    from registry.validation import InvalidDeclarationError, declaration

    raw = {
        "id": "bre",
        "name": "Bretagne",
        "region": "53",
        "base_url": "https://b.example/fhir",
        "auth": auth,
    }
    schema = {"$ref": "#/components/schemas/Declaration"}
    if fits:
        validates(schema, raw)
        declaration(raw)
    else:
        with pytest.raises(jsonschema_rs.ValidationError):
            validates(schema, raw)
        with pytest.raises(InvalidDeclarationError):
            declaration(raw)
