"""All of access control at once, over HTTP: every right of the README's table on every interaction, by clients that reach
all managers, one or none; every forged token; and for each request the trail that it must leave, and no other."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from broker.core.access.certificates import thumbprint
from broker.core.access.principal import EVERYTHING, Scopes
from tests.support import audited
from tests.support.audited import Json
from tests.support.certificates import Authority
from tests.support.entitled import told
from tests.support.fhir_builders import patient
from tests.support.forged import FORGED
from tests.support.guarded import Asked, GuardedWorld, guarded, scope_text
from tests.support.policy_table import (
    ANOTHER,
    COLUMNS,
    LINES,
    PERSON,
    Example,
    Line,
    a_subscription,
    all_but,
    alone,
    examples,
    together,
)
from tests.support.valkey import Valkey

REACHED = {
    "everywhere": {"bre", "occ"},
    "narrow": {"bre", "occ"},
    "occitanie": {"occ"},
    "nowhere": set[str](),
}
"""Managers by client of the directory; the examples' resources are all of `bre`."""

CLIENTS = ("everywhere", "occitanie", "nowhere")

DIRECTED = ("read", "vread", "history-instance", "create", "update", "transaction")
"""Interactions with one manager. The others are answered by those in reach."""

AT_ANOTHER = (403, "access.manager")
"""What is answered of a manager that the client does not reach."""

AT_NONE = (403, "access.no-manager")
"""What a search is answered where none is in reach."""

OPERATIONS = {"$locate", "$status", "$events"}
SILENT = {"capabilities", "descriptions", "health", "metrics"}
SILENT_PATHS = {"/registry/fhir/metadata"}
"""No trace is kept of these, but of whom they are refused to."""

HERE = {"/registry/audit", "/fhir/.well-known/smart-configuration"}
"""Found where a trail is kept and tokens are taken; the examples are also used without."""

ACTIONS = {"POST": "C", "PUT": "U", "DELETE": "D"}
DOCTOR = {"act": {"sub": "everywhere"}, "sub": "f:1:doctor", "SubjectNameID": "899700000001"}


@dataclass(frozen=True)
class Route:
    """One route of a line of the table, with one example of a request."""

    line: Line
    method: str
    path: str
    which: int

    def needs(self, example: Example) -> dict[str, str]:
        needs = dict(self.line.needs if example.needs is None else example.needs)
        return {name: example.kind if on == "{type}" else on for name, on in needs.items()}

    @property
    def code(self) -> str:
        """`AuditEvent.subtype`."""
        if self.line.code in OPERATIONS:
            return "operation"
        if self.path.startswith("/fhir") and self.line.code not in SILENT:
            return self.line.code
        if self.path == "/registry/audit":
            return "audit"
        if self.path.startswith("/registry/fhir/{"):
            known = {
                "_history": "history-instance",
                "{vid}": "vread",
                "{kind}": "search-type",
                "{id}": "read",
            }
            last = self.path.rpartition("/")[2]
            return "history-type" if self.path.endswith("{kind}/_history") else known[last]
        return "/".join(part for part in self.path.split("/") if part and "{" not in part)

    @property
    def action(self) -> str:
        """`AuditEvent.action`: searches, operations and transactions are executed (E)."""
        if self.code in ("operation", "search-type", "transaction"):
            return "E"
        if self.path.startswith("/fhir"):
            return ACTIONS.get(self.method, "R")
        return {"GET": "R", "PUT": "U", "DELETE": "D"}.get(self.method, "E")


@dataclass(frozen=True)
class Expected:
    """What a request was answered, and how its trace must look."""

    route: Route
    asked: Asked
    client: str | None
    user: bool
    silent: bool
    named: str | None
    reached: frozenset[str]
    what: str


@dataclass
class Trial:
    world: GuardedWorld
    subscriptions: dict[str, str] = field(default_factory=dict)
    done: list[Expected] = field(default_factory=list)

    async def expect(
        self, route: Route, granted: Scopes, client: str, permitted: bool, **claims: Any
    ) -> None:
        example = self.example(route, client)
        token = self.world.token(granted, client, **claims)
        asked = await self.sent(route, example, token)
        answered, who = asked.answered, f"{client} {claims.get('scope') or scope_text(granted)}"
        what = f"{route.method} {example.target or route.path} by {who}: {answered.status} {answered.body[:300]!r}"
        refusal = None
        if not permitted:
            assert answered.status == 403, what
            assert all(key.startswith("access.") for key in told(answered)), what
            assert 'error="insufficient_scope"' in answered.headers["WWW-Authenticate"], what
        else:
            refusal = self.out_of_reach(route, client)
            usual = 200 if route.path in HERE else example.status
            status, key = refusal or (usual, None)
            assert answered.status == status, what
            assert key is None or told(answered)[0] == key, what
        self.note(route, asked, client, what, example, quiet=permitted, user="act" in claims)

    def out_of_reach(self, route: Route, client: str) -> tuple[int, str] | None:
        if not route.path.startswith("/fhir") or "Subscription" in route.path:
            return None
        if REACHED.get(client) == set() and route.line.code in ("search-type", "history-type", "$locate"):
            return AT_NONE
        return AT_ANOTHER if "bre" not in REACHED.get(client, ()) and route.line.code in DIRECTED else None

    async def sent(self, route: Route, example: Example, token: str | None, **more: Any) -> Asked:
        headers = {} if example.home is None else {"X-Gestionnaire": example.home}
        headers |= more.pop("headers", {})
        return await self.world.ask(
            token, route.method, example.target or route.path, example.body, headers=headers, **more
        )

    def example(self, route: Route, client: str) -> Example:
        subscription = self.subscriptions.get(client, self.subscriptions["everywhere"])
        return [*examples(route.method, route.path, subscription)][route.which]

    def note(
        self,
        route: Route,
        asked: Asked,
        client: str | None,
        what: str,
        example: Example,
        *,
        quiet: bool,
        user: bool = False,
    ) -> None:
        silent = quiet and (route.line.code in SILENT or route.path in SILENT_PATHS)
        named = None
        if route.path.startswith(("/fhir/{type}/{id}", "/fhir/Subscription/{id}")):
            named = "/".join((example.target or route.path).split("/")[2:4])
        reached = frozenset(REACHED.get(client or "", set()) if quiet else ())
        self.done.append(Expected(route, asked, client, user, silent, named, reached, what))


def routes() -> Iterator[Route]:
    """Of FHIR, the registry and operation. The console's pages speak HTML to people: its own tests try them."""
    for line in LINES:
        for method, path in line.routes:
            if path.startswith("/console"):
                continue
            for which, _ in enumerate(examples(method, path, "none")):
                yield Route(line, method, path, which)


async def every_right(trial: Trial, route: Route) -> None:
    """Each right alone and each missing, on one manager's and another's; and all that is needed, by all clients."""
    needs = route.needs(trial.example(route, "everywhere"))
    public = needs.pop("anybody", None) is not None
    if public:
        for granted in (Scopes(), EVERYTHING):
            await trial.expect(route, granted, "everywhere", True)
        return
    for column in COLUMNS[1:]:
        on = needs.get(column)
        for client in CLIENTS:
            await trial.expect(route, alone(column, on), client, set(needs) == {column})
        if on is not None:
            await trial.expect(route, all_but(column), "everywhere", False)
            if on != "✓":
                await trial.expect(route, alone(column, ANOTHER), "everywhere", False)
    for client in CLIENTS:
        await trial.expect(route, together(needs), client, True)
        await trial.expect(route, Scopes(), client, False)
    await trial.expect(route, EVERYTHING, "narrow", needs == {"s": "CareTeam"})
    # Rights of a person: with one behind the request, and without.
    theirs = scope_text(together(needs), "user")
    await trial.expect(route, together(needs), "everywhere", True, scope=theirs, **DOCTOR)
    if "user/" in theirs:
        await trial.expect(route, together(needs), "everywhere", False, scope=theirs)


async def test_every_right_on_every_interaction_at_managers_reached_and_not(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with guarded(valkey, tmp_path) as world:
        trial = Trial(world)
        for client in REACHED:
            made = await world.ask(
                world.token(EVERYTHING, "everywhere" if client == "narrow" else client),
                "POST",
                "/fhir/Subscription",
                a_subscription(),
            )
            assert made.answered.status == 201, made.answered.body
            trial.subscriptions[client] = made.answered.json["id"]
        every = [*routes()]
        # Those that write the same resource go one after the other, and last what turns the index over.
        writing = [one for one in every if one.line.code in ("update", "transaction") and "/fhir" in one.path]
        last = [one for one in every if one.line.code == "locator-change"]
        rest = [one for one in every if one not in writing and one not in last]
        lanes = [rest[start::6] for start in range(6)]
        await asyncio.gather(*(_in_turn(trial, lane) for lane in [writing, *lanes]))
        await _in_turn(trial, last)
        check_trail(world, trial.done, others=4)
        assert len(trial.done) > 35 * len(every)


async def _in_turn(trial: Trial, lane: Iterable[Route]) -> None:
    for route in lane:
        await every_right(trial, route)


def check_trail(world: GuardedWorld, done: Iterable[Expected], *, others: int = 0) -> None:
    """Each request has the records that it must have. `others`: requests beside, that left one record each."""
    trail = world.trail()
    traced = [one for one in done if not one.silent]
    for one in done:
        events = trail.pop(one.asked.number, [])
        if one.silent:
            assert not events, one.what
        else:
            check_events(world, one, events)
    assert traced
    assert len(trail) == others, [audited.codes(events) for events in trail.values()]
    assert world.verified().intact
    assert world.verified().notices == []


def check_events(world: GuardedWorld, one: Expected, events: list[Json]) -> None:
    answered = one.asked.answered
    concerned: list[str] = []
    if one.route.path.startswith("/fhir") and answered.status < 300 and answered.body:
        concerned = sorted(shown_persons(world, answered.json))
    assert {person.rpartition("/")[2].partition(".")[0] for person in concerned} <= one.reached, one.what
    assert len(events) == max(1, len(concerned)), one.what
    assert sorted(person for event in events for person in audited.persons(event)) == concerned, one.what
    for event in events:
        assert (audited.code(event), event["action"]) == (one.route.code, one.route.action), one.what
        assert event["outcome"] == ("0" if answered.status < 400 else "4"), one.what
        reason = told(answered)[0] if answered.status >= 400 else None
        assert event.get("outcomeDesc") == reason, one.what
        assert audited.client(event) == one.client, one.what
        assert len(event["agent"]) == (3 if one.user else 2), one.what
        details = audited.details(event)
        assert ("status", str(answered.status)) in details, one.what
        assert {value for name, value in details if name == "manager"} <= one.reached, one.what
        if one.named is not None:
            named = [reference.partition("/fhir/")[2] for reference in audited.objects(event)]
            assert one.named in named, one.what


def shown_persons(world: GuardedWorld, body: Any) -> set[str]:
    """Absolute references of the persons whose circle, or who themselves, stand in an answer."""
    if isinstance(body, list):
        return {person for one in body for person in shown_persons(world, one)}
    if not isinstance(body, dict):
        return set()
    base = world.brokers["usual"].base_url
    match body.get("resourceType"):
        case "CareTeam":
            return {f"{base}/{body['subject']['reference'].removeprefix(base + '/')}"}
        case "Patient":
            return {f"{base}/Patient/{body['id']}"}
    return {person for one in body.values() for person in shown_persons(world, one)}


# --- forged tokens

AIMED_AT = (
    ("GET", "/fhir/{type}"),
    ("PUT", "/fhir/{type}/{id}"),
    ("GET", "/fhir/CareTeam/$locate"),
    ("GET", "/registry/gestionnaires"),
    ("GET", "/metrics"),
)
"""One of each kind; what is before them is the same for all routes."""


async def test_every_forged_token_is_refused_and_traced(valkey: Valkey, tmp_path: Path) -> None:
    aims = [one for one in routes() if (one.method, one.path) in AIMED_AT]
    assert len(aims) == len(AIMED_AT)
    others: dict[str, dict[str, Any]] = {
        "once": {"oidc_jti": "once"},
        "bound": {"oidc_bound": True, "trusted_proxies": "127.0.0.1"},
    }
    async with guarded(valkey, tmp_path, **others) as world:
        trial = Trial(world, {"everywhere": "none"})
        good = world.token(EVERYTHING)
        honest = await world.ask(good, "GET", f"/fhir/CareTeam?{PERSON}")
        assert honest.answered.status == 200, "the broker has the keys"

        async def refused(name: str, token: str | None, key: str, status: int = 401, **more: Any) -> None:
            for route in aims:
                example = trial.example(route, "everywhere")
                asked = await trial.sent(route, example, token, **more)
                what = f"{name}: {asked.answered.status} {asked.answered.body[:300]!r}"
                assert (asked.answered.status, told(asked.answered)) == (status, [key]), what
                assert status != 401 or asked.answered.headers["WWW-Authenticate"], what
                client = "stranger" if key == "access.unknown-client" else None
                trial.note(route, asked, client, f"{name}: {route}", example, quiet=False)

        sent = {name: forge(world.issuer) for name, (forge, _) in FORGED.items()}
        await asyncio.gather(*(refused(name, token, FORGED[name][1]) for name, token in sent.items()))
        await refused("nothing", None, "access.missing")
        stranger = world.token(EVERYTHING, "stranger")
        await refused("a client that is not registered", stranger, "access.unknown-client", 403)

        used = world.token(EVERYTHING, jti="1")
        first = await world.ask(used, "GET", "/registry/gestionnaires", broker="once")
        assert first.answered.status == 200
        await refused("a token used before", used, "access.replayed", broker="once")

        mine, other = (Authority("Authority of tests").client(name) for name in ("mine", "other"))
        bound = world.token(EVERYTHING, cnf={"x5t#S256": thumbprint(mine.der)})
        by_owner = await world.ask(
            bound, "GET", "/registry/gestionnaires", broker="bound", headers=shown(mine.pem)
        )
        assert by_owner.answered.status == 200
        await refused(
            "another's certificate", bound, "access.binding", broker="bound", headers=shown(other.pem)
        )
        await refused("no certificate", bound, "access.binding", broker="bound")
        await refused("no binding", good, "access.unbound", broker="bound", headers=shown(mine.pem))

        check_trail(world, trial.done, others=3)
        assert len(trial.done) == len(aims) * (len(FORGED) + 6)
        written = "".join(path.read_text() for path in (tmp_path / "audit").glob("*.ndjson"))
        assert not any(part in written for token in [good, used, bound] for part in token.split("."))


def shown(pem: str) -> dict[str, str]:
    """As a trusted proxy shows a client's certificate."""
    return {"X-SSL-Client-Cert": quote(pem)}


async def test_a_token_that_expires_is_refused_from_then_on(valkey: Valkey, tmp_path: Path) -> None:
    async with guarded(valkey, tmp_path, exact={"oidc_leeway": 0}) as world:
        ends = time.time() + 1.0
        token = world.token(EVERYTHING, exp=ends)
        statuses: list[int] = []
        while not statuses or statuses[-1] == 200:
            asked = await world.ask(token, "GET", "/fhir/CareTeam?_count=1", broker="exact")
            statuses.append(asked.answered.status)
            assert time.time() < ends + 30, "it never ends"
        assert (statuses[0], statuses[-1], time.time() >= ends) == (200, 401, True)
        trail = world.trail()
        assert len(trail) == len(statuses)
        assert [trail[asked.number][0]["outcomeDesc"]] == ["access.expired"]
        assert world.verified().intact


@pytest.mark.parametrize("target", ["/", "/nowhere", "/metrics", "/registry/fhir/metadata"])
async def test_a_refusal_is_traced_also_where_nothing_else_would_be(
    valkey: Valkey, tmp_path: Path, target: str
) -> None:
    async with guarded(valkey, tmp_path) as world:
        refused = await world.ask(None, "GET", target)
        allowed = await world.ask(world.token(EVERYTHING), "GET", target)
        assert (refused.answered.status, allowed.answered.status) in ((401, 200), (401, 404))
        ((number, events),) = world.trail().items()
        assert (number, [one["outcomeDesc"] for one in events]) == (refused.number, ["access.missing"])


async def test_whose_data_somebody_asked_for_in_vain_is_told(valkey: Valkey, tmp_path: Path) -> None:
    async with guarded(valkey, tmp_path) as world:
        lacking, nobody = world.token(alone("s", "CareTeam")), None
        for token, method, target in itertools.product(
            (lacking, nobody), ("GET", "PUT"), ("/fhir/Patient/bre.p1", "/fhir/patient/bre.p1")
        ):
            asked = await world.ask(token, method, target, patient("bre.p1") if method == "PUT" else None)
            assert asked.answered.status in (401, 403)
            (event,) = world.trail()[asked.number]
            person = f"{world.brokers['usual'].base_url}/Patient/bre.p1"
            assert (audited.persons(event), audited.objects(event)) == ([person], [person])
        other = await world.ask(lacking, "GET", "/fhir/Patient/..%2F..%2Fmetadata")
        assert [audited.objects(one) for one in world.trail()[other.number]] == [[]]


async def test_a_client_has_the_rate_that_it_is_registered_for(valkey: Valkey, tmp_path: Path) -> None:
    async with guarded(valkey, tmp_path) as world:
        slow, usual = world.token(EVERYTHING, "slow"), world.token(EVERYTHING)
        asked = [await world.ask(slow, "GET", "/registry/gestionnaires") for _ in range(3)]
        assert [one.answered.status for one in asked] == [200, 200, 429]
        (event,) = world.trail()[asked[2].number]
        assert (audited.client(event), event["outcome"], event["outcomeDesc"]) == ("slow", "4", "limit.rate")
        for _ in range(5):
            assert (await world.ask(usual, "GET", "/registry/gestionnaires")).answered.status == 200
