"""The README's table of who may do what, as a reader sees it; for every route of it a request, and rights to try it with."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.commands.policy_table import BEGIN, END
from broker.core.access.principal import ANY_TYPE, EVERYTHING, Permission, Role, Scopes
from broker.gateway.registry_operations import PLAN_PATH
from tests.support.entitled import INS_TEST, Json, organization

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

ANOTHER = "Practitioner"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Line:
    """One line of the table: `needs` by column, the type that stands in the cell, or `✓`."""

    code: str
    routes: tuple[tuple[str, str], ...]
    needs: dict[str, str]


def table() -> tuple[list[str], list[Line]]:
    """The columns and the lines, as a reader sees them."""
    shown = README.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown]
    columns = [name.strip("`") for name in head[2:]]
    found = []
    for code, http, *cells in lines:
        routes = tuple(re.findall(r"`([A-Z]+) ([^`]+)`", http))
        needs = {name: cell.strip("`") for name, cell in zip(columns, cells, strict=True) if cell}
        found.append(Line(code, routes, needs))
    return columns, found


COLUMNS, LINES = table()


@dataclass(frozen=True)
class Example:
    """A request that takes a route. `status`: of whoever may. `needs`: where they are not those of the line."""

    target: str
    status: int
    body: Json | str | None = None
    kind: str = "CareTeam"
    home: str | None = None
    needs: dict[str, str] | None = None


def an_organization(name: str | None = None) -> Json:
    made = organization(name or "new")
    del made["meta"]
    made["identifier"] = [{"system": "urn:test:structures", "value": f"{name or 'new'}-{next(_numbers)}"}]
    if name is None:
        del made["id"]
    return made


def a_subscription(**more: str) -> Json:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Suivi",
        "criteria": "CareTeam?status=active",
        "channel": {"type": "rest-hook", "endpoint": "http://127.0.0.1:9/hook"},
        **more,
    }


def a_transaction(method: str) -> Json:
    resource = an_organization() if method == "POST" else an_organization("bre.o2")
    url = "Organization" if method == "POST" else "Organization/bre.o2"
    entry = {"resource": resource, "request": {"method": method, "url": url}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


PERSON = f"patient.identifier={INS_TEST}%7Cins-bre"


def examples(method: str, path: str, subscription: str) -> Iterator[Example]:
    """Each fresh: what it makes is not there yet."""
    if path in ("/fhir", "/fhir/"):
        yield Example(path, 200, a_transaction("POST"), "Organization", "bre", {"c": "Organization"})
        yield Example(path, 200, a_transaction("PUT"), "Organization", None, {"u": "Organization"})
        return
    found = {
        "GET /fhir/metadata": Example("", 200),
        "GET /fhir/.well-known/smart-configuration": Example(
            "", 404
        ),  # without authentication there are no tokens
        "GET /fhir/{type}": Example("/fhir/CareTeam?_count=1", 200),
        "POST /fhir/{type}/_search": Example("/fhir/Careteam/_search", 200, "_count=1"),
        "GET /fhir/{type}/{id}": Example("/fhir/CareTeam/bre.c1", 200),
        "GET /fhir/{type}/{id}/_history/{vid}": Example("/fhir/CareTeam/bre.c1/_history/1", 200),
        "GET /fhir/{type}/{id}/_history": Example("/fhir/CareTeam/bre.c1/_history", 200),
        "GET /fhir/{type}/_history": Example("/fhir/CareTeam/_history", 200),
        "POST /fhir/{type}": Example("/fhir/Organization", 201, an_organization(), "Organization", "bre"),
        "PUT /fhir/{type}/{id}": Example(
            "/fhir/Organization/bre.o2", 200, an_organization("bre.o2"), "Organization"
        ),
        "GET /fhir/CareTeam/$locate": Example(f"/fhir/CareTeam/$locate?{PERSON}", 200),
        "POST /fhir/CareTeam/$locate": Example("/fhir/CareTeam/$locate", 200, PERSON),
        "POST /fhir/Subscription/_search": Example("", 200, "status=active"),
        "POST /fhir/Subscription": Example("", 201, a_subscription()),
        "PUT /fhir/Subscription/{id}": Example(
            f"/fhir/Subscription/{subscription}", 200, a_subscription(id=subscription)
        ),
        "DELETE /fhir/Subscription/{id}": Example("/fhir/Subscription/nobody", 404),
        "POST /registry/gestionnaires": Example("", 422, {}),
        "PUT /registry/gestionnaires/{id}": Example("/registry/gestionnaires/zzz", 404, {"id": "zzz"}),
        f"POST {PLAN_PATH}": Example("", 200, {"search": "CareTeam?status=active"}),
        "POST /registry/locator/rotate-key": Example("", 202),
        "GET /registry/fhir/metadata": Example("", 200),
        "GET /registry/audit": Example("", 404),  # no trail is kept in tests but where it is looked at
        # Nobody signs in where everybody is known already.
        "GET /console/login": Example("", 404),
        "GET /console/callback": Example("", 404),
        "GET /console/signed-out": Example("", 404),
        "POST /console/logout": Example("", 404, "csrf=x"),
        "POST /console/purpose": Example("", 400, "code=TREAT"),  # a form that the console did not give
        # Led to where a purpose is stated, before anything else.
        "POST /console/search": Example("", 200, "family=x"),
        "POST /console/circle/{id}": Example("/console/circle/bre.c1", 200, "page=x"),
        "POST /console/audit": Example("", 200, "client=x"),
    }.get(f"{method} {path}")
    if found is not None:
        yield found
        return
    known = {"{id}": "bre", "{kind}": "Organization", "{vid}": "1", "{slug}": "bre"}
    known |= {"{digest}": "x", "{name}": "console.css"}
    if path.startswith("/fhir/Subscription"):
        known["{id}"] = subscription
    elif method != "GET":
        known["{id}"] = "zzz"  # nobody: what is permitted finds nothing
    target = re.sub(r"\{\w+\}", lambda name: known[name[0]], path)
    if method == "POST" and path.startswith("/console/"):
        yield Example(target, 400, "csrf=x")  # a form that the console did not give
        return
    yield Example(target, 200 if method == "GET" else 404)


def alone(column: str, kind: str | None) -> Scopes:
    """One right, on one type or (None) on every type."""
    if column in tuple(Role):
        return Scopes(roles=frozenset({Role(column)}))
    if column in tuple(Permission):
        return Scopes({kind or ANY_TYPE: frozenset({Permission(column)})})
    return Scopes()


def all_but(column: str) -> Scopes:
    fhir = {ANY_TYPE: EVERYTHING.fhir[ANY_TYPE] - {column}}
    return Scopes(fhir, frozenset(role for role in EVERYTHING.roles if role != column))


def together(needs: dict[str, str]) -> Scopes:
    fhir: dict[str, frozenset[Permission]] = {}
    for column, kind in needs.items():
        if column in tuple(Permission):
            fhir[kind] = fhir.get(kind, frozenset()) | {Permission(column)}
    return Scopes(fhir, frozenset(Role(one) for one in needs if one in tuple(Role)))
