"""The README's table of who may do what, cell by cell, against the whole application; and its routes against the router."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.core.access.policy import POLICY
from broker.core.access.principal import Principal, Scopes
from tests.support.entitled import ALL, EntitledWorld, entitled, told
from tests.support.policy_table import (
    ANOTHER,
    COLUMNS,
    LINES,
    a_subscription,
    a_transaction,
    all_but,
    alone,
    examples,
    together,
)
from tests.support.valkey import Valkey


@dataclass
class Tried:
    world: EntitledWorld
    subscription: str
    count: int = 0

    async def expect(self, scopes: Scopes, method: str, path: str, which: int, *, permitted: bool) -> None:
        example = [*examples(method, path, self.subscription)][which]
        headers = {} if example.home is None else {"X_Gestionnaire": example.home}
        answered = await self.world.ask(
            Principal("c", scopes=scopes), method, example.target or path, example.body, **headers
        )
        said = (method, path, scopes, answered.status, answered.body[:400])
        if permitted:
            assert answered.status == example.status, said
        else:
            assert answered.status == 403, said
            assert all(key.startswith("access.") for key in told(answered)), said
        self.count += 1


async def test_every_cell_of_the_table(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    async with entitled(valkey, monkeypatch) as world:
        made = await world.ask(ALL, "POST", "/fhir/Subscription", a_subscription())
        tried = Tried(world, made.json["id"])
        for line in LINES:
            for method, path in line.routes:
                for which, example in enumerate(examples(method, path, tried.subscription)):
                    needs = dict(line.needs if example.needs is None else example.needs)
                    public = needs.pop("anybody", None) is not None
                    needs = {name: example.kind if on == "{type}" else on for name, on in needs.items()}
                    for column in COLUMNS[1:]:
                        on = needs.get(column)
                        enough = public or set(needs) == {column}
                        await tried.expect(alone(column, on), method, path, which, permitted=enough)
                        if on is not None and on != "✓":
                            await tried.expect(alone(column, ANOTHER), method, path, which, permitted=False)
                        rest = public or column not in needs
                        await tried.expect(all_but(column), method, path, which, permitted=rest)
                    await tried.expect(together(needs), method, path, which, permitted=True)
                    await tried.expect(Scopes(), method, path, which, permitted=public)
        assert tried.count > 25 * len(POLICY)


def test_the_table_is_that_of_the_policy() -> None:
    """Read back from the README, every line says what the code goes by."""
    shown = {route: line for line in LINES for route in line.routes}
    assert shown.keys() == POLICY.keys()
    assert {route: line.code for route, line in shown.items()} == {
        route: one.code for route, one in POLICY.items()
    }


async def test_every_route_is_in_the_table_and_the_other_way_round(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entitled(valkey, monkeypatch) as world:
        routes = {
            (route.method, route.resource.canonical)
            for route in world.app.router.routes()
            if route.method != "HEAD" and route.resource is not None
        }
        assert routes == POLICY.keys()


async def test_what_is_not_in_the_table_is_refused_to_everybody(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.permission.POLICY", {})
    async with entitled(valkey, monkeypatch) as world:
        for target in ("/fhir/metadata", "/fhir/CareTeam", "/registry/gestionnaires", "/health/live"):
            answered = await world.ask(ALL, "GET", target)
            assert (answered.status, told(answered)) == (403, ["access.undeclared"])


async def test_what_no_route_takes_says_so_to_whoever_asks(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entitled(valkey, monkeypatch) as world:
        for method, target, status in (
            ("DELETE", "/fhir/CareTeam/bre.c1", 405),
            ("GET", "/fhir/CareTeam/bre.c1/nonsense", 404),
            ("GET", "/registry/nonsense", 404),
        ):
            assert (await world.ask(ALL, method, target)).status == status
        unknown = await world.ask(Principal("c", scopes=Scopes()), "GET", "/fhir/Basic")
        assert unknown.status == 404, "a type that nobody can have a right to"


async def test_a_transaction_is_refused_whole_and_says_for_which_entries(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = a_transaction("POST")
    both["entry"] += a_transaction("PUT")["entry"]
    async with entitled(valkey, monkeypatch) as world:
        for letter, place in (("c", 1), ("u", 0)):
            principal = Principal("c", scopes=alone(letter, "Organization"))
            before = len([*world.boxes["bre"].store.changes("Organization")])
            answered = await world.ask(principal, "POST", "/fhir", both)
            assert answered.status == 403
            assert told(answered) == ["access.transaction", "access.scope"]
            assert answered.json["issue"][1]["expression"] == [f"Bundle.entry[{place}].request"]
            assert len([*world.boxes["bre"].store.changes("Organization")]) == before
        done = await world.ask(
            Principal("c", scopes=together({"c": "Organization", "u": "*"})), "POST", "/fhir", both
        )
        assert done.status == 200
