"""The check against the sandbox over real HTTP: each handicap must be found, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from broker.core.breaker import BreakerState
from broker.core.capability import federation_statement
from broker.core.lacks import MODIFIERS
from broker.core.search_parameters import PARAMETERS
from broker.errors import FailureKind, ManagerError
from broker.federation.check import check
from broker.federation.check_session import MAX_REQUESTS
from broker.federation.manager_guard import ManagerGuard
from broker.ports import ManagerAnswer, ManagerClient, ManagerRequest
from registry.model import Gestionnaire, Registered, SearchMethod, Skills
from tests.support.fake_clock import FakeClock
from tests.support.fhir_builders import INS
from tests.support.gestionnaires import gestionnaire
from tests.support.probed_region import KEYS, probed_region

Json = dict[str, Any]


class Twisted:
    """A client that keeps what was sent, and may change what is sent or comes back."""

    def __init__(self, client: ManagerClient | None = None) -> None:
        self.client = client
        self.sent: list[ManagerRequest] = []
        self.ask: Callable[[ManagerRequest], ManagerRequest | ManagerAnswer] = lambda request: request
        self.answer: Callable[[ManagerRequest, ManagerAnswer], ManagerAnswer] = lambda _, answer: answer

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109 - the port's
        self.sent.append(request)
        asked = self.ask(request)
        if isinstance(asked, ManagerAnswer):
            return asked
        assert self.client is not None
        return self.answer(request, await self.client.send(manager, asked, timeout=timeout))


@pytest.fixture
async def http() -> AsyncIterator[HttpManagerClient]:
    client = HttpManagerClient(SystemClock())
    yield client
    await client.aclose()


@pytest.fixture
def twisted(http: HttpManagerClient) -> Twisted:
    return Twisted(http)


async def checked(
    client: ManagerClient,
    resources: Iterable[Mapping[str, Any]] | None = None,
    *,
    federation_id: str | None = None,
    method: SearchMethod = SearchMethod.AUTO,
    **handicaps: Any,
) -> Skills:
    held = probed_region() if resources is None else resources
    async with running_sandbox(held, options=SandboxOptions(**handicaps)) as sandbox:
        manager = gestionnaire("bre", base_url=sandbox.base_url, search_method=method.value)
        return await check(client, FakeClock(), manager, timeout=5, federation_id=federation_id)


def answered(body: bytes | Json, status: int = 200, **headers: str) -> ManagerAnswer:
    return ManagerAnswer(status, headers, body if isinstance(body, bytes) else orjson.dumps(body), 0.0)


SEARCHSET: Json = {"resourceType": "Bundle", "type": "searchset"}


# --- a whole manager


async def test_a_whole_manager_lacks_nothing(twisted: Twisted) -> None:
    skills = await checked(twisted)
    assert skills.lacks == ()
    assert skills.unproven == ()
    known = {name: getattr(skills, name) for name in skills.__struct_fields__}
    assert {name for name, value in known.items() if value is True} == {
        *("chaining", "include", "iterate", "revinclude", "sort", "post_search", "history_type", "paging"),
        *("history_instance", "read", "vread", "total", "elements"),
    }
    assert skills.checked_at == "2026-01-01T00:00:00Z"
    assert skills.fhir_version == "4.0.1"
    assert skills.formats == ("json", "xml")
    assert skills.max_page == 3
    assert skills.broker is False
    assert skills.modifiers == MODIFIERS
    assert len(twisted.sent) <= 95


async def test_it_says_nothing_about_people_in_addresses(twisted: Twisted) -> None:
    await checked(twisted)
    sent = " ".join(value for request in twisted.sent for _, value in request.form or ())
    assert any(ins in sent for ins in INS)  # it was asked, and not in an address
    assert_addresses_are_clean(twisted)


def assert_addresses_are_clean(twisted: Twisted) -> None:
    personal = (
        *INS,
        "Zoé",
        "Le Bihan",
        "Tourcoing",
        "Quimper",
        "10101919190",
        *(key.title() for key in KEYS),
    )
    for request in twisted.sent:
        shown = " ".join(value for pair in request.query for value in pair)
        assert not [word for word in personal if word in shown], shown


# --- each handicap, and nothing else

HANDICAPS: list[tuple[Json, set[str]]] = [
    ({"no_full_url": True}, set()),
    ({"no_search_mode": True}, set()),
    ({"no_self_link": True}, set()),
    ({"id_last": True}, set()),
    ({"uuid_versions": True}, set()),
    ({"relative_next_links": True}, set()),
    ({"getpages_links": True}, set()),
    ({"max_page": 2, "default_page": 2}, set()),
    ({"no_total": True}, {"total"}),
    ({"chains_match_nothing": True}, {"chaining"}),
    ({"ignores_include": True}, {"include", "revinclude"}),
    ({"ignores_sort": True}, {"sort"}),
    ({"ignores_elements": True}, {"elements"}),
    ({"no_type_history": True}, {"history-type"}),
    ({"no_post_search": True}, {"post-search"}),
    ({"no_post_search": True, "chains_match_nothing": True}, {"post-search", "chaining"}),
    ({"ignored_params": frozenset({"start"})}, {"param:CareTeam:start"}),
    ({"ignored_params": frozenset({"status"})}, {"param:CareTeam:status"}),
    ({"ignored_params": frozenset({"patient"})}, {"param:CareTeam:patient"}),
    ({"ignored_params": frozenset({"participant"})}, {"param:CareTeam:participant"}),
    ({"ignored_params": frozenset({"_lastUpdated"})}, {"param:CareTeam:_lastUpdated"}),
    ({"ignored_params": frozenset({"birthplace"})}, {"param:Patient:birthplace"}),
    ({"ignored_params": frozenset({"gender"})}, {"param:Patient:gender"}),
    ({"ignored_params": frozenset({"practitioner"})}, {"param:PractitionerRole:practitioner"}),
    (
        {"ignored_params": frozenset({"identifier"})},
        {f"param:{kind}:identifier" for kind in ("CareTeam", "Patient", "Practitioner", "Organization")},
    ),
    (
        {"ignored_params": frozenset({"_id"})},
        {f"param:{kind}:_id" for kind in ("RelatedPerson", "PractitionerRole", "Organization")},
    ),
    ({"ignored_params": frozenset({"name:exact"})}, {"modifier:exact"}),
    ({"ignored_params": frozenset({"status:not"})}, {"modifier:not"}),
    ({"ignored_params": frozenset({"status:missing"})}, {"modifier:missing"}),
    ({"ignored_params": frozenset({"category:text"})}, {"modifier:text"}),
    ({"ignored_params": frozenset({"managingOrganization:identifier"})}, {"modifier:identifier"}),
]


@pytest.mark.parametrize("lying", [False, True])
@pytest.mark.parametrize(
    ("handicap", "lacks"), HANDICAPS, ids=lambda value: "-".join(sorted(map(str, value))) or "-"
)
async def test_a_handicap_is_found_and_nothing_else(
    twisted: Twisted, handicap: Json, lacks: set[str], *, lying: bool
) -> None:
    skills = await checked(twisted, **handicap, lying_statement=lying)
    assert set(skills.lacks) == lacks
    assert len(twisted.sent) <= MAX_REQUESTS


async def test_at_a_manager_without_post_search_nothing_personal_is_in_an_address(twisted: Twisted) -> None:
    skills = await checked(twisted, no_post_search=True)
    assert_addresses_are_clean(twisted)
    assert skills.chaining is True
    assert "Patient.identifier" in skills.unproven
    assert "CareTeam.identifier" not in skills.unproven


async def test_an_operator_who_says_get_is_believed(twisted: Twisted) -> None:
    skills = await checked(twisted, method=SearchMethod.GET)
    assert skills.post_search is True
    assert {r.target for r in twisted.sent if r.method == "POST"} == {
        "CareTeam/_search"
    }  # the experiment itself
    assert_addresses_are_clean(twisted)


# --- managers that the sandbox cannot play


def _form_lost(request: ManagerRequest) -> ManagerRequest:
    return replace(request, form=()) if request.form is not None else request


async def test_a_post_search_that_ignores_its_body_is_none(twisted: Twisted) -> None:
    twisted.ask = _form_lost
    assert (await checked(twisted)).lacks == ("post-search",)


async def test_a_manager_that_always_sorts_newest_first_does_not_sort(twisted: Twisted) -> None:
    def newest_first(request: ManagerRequest) -> ManagerRequest:
        pairs = [
            ("_sort", "-_lastUpdated") if name == "_sort" else (name, value)
            for name, value in _pairs(request)
        ]
        return _with_pairs(request, pairs)

    twisted.ask = newest_first
    assert (await checked(twisted)).lacks == ("sort",)


def _pairs(request: ManagerRequest) -> list[tuple[str, str]]:
    return list(request.query if request.form is None else request.form)


def _with_pairs(request: ManagerRequest, pairs: list[tuple[str, str]]) -> ManagerRequest:
    return replace(request, query=pairs) if request.form is None else replace(request, form=pairs)


async def test_chains_that_are_ignored_do_not_work(twisted: Twisted) -> None:
    twisted.ask = lambda r: _with_pairs(r, [pair for pair in _pairs(r) if "." not in pair[0]])
    assert (await checked(twisted)).lacks == ("chaining",)


@pytest.mark.parametrize("modifier", MODIFIERS)
async def test_a_modifier_that_is_dropped_does_not_work(twisted: Twisted, modifier: str) -> None:
    def plain(request: ManagerRequest) -> ManagerRequest:
        pairs = [(name.removesuffix(f":{modifier}"), value) for name, value in _pairs(request)]
        return _with_pairs(request, pairs)

    twisted.ask = plain
    skills = await checked(twisted)
    assert skills.lacks == (f"modifier:{modifier}",)
    assert skills.modifiers == tuple(name for name in MODIFIERS if name != modifier)


async def test_a_modifier_that_is_refused_does_not_work(twisted: Twisted) -> None:
    outcome = {"resourceType": "OperationOutcome"}
    twisted.ask = lambda r: answered(outcome, 400) if any(":exact" in name for name, _ in _pairs(r)) else r
    assert (await checked(twisted)).lacks == ("modifier:exact",)


async def test_a_modifier_that_cannot_be_tried_is_not_trusted_and_no_lack(twisted: Twisted) -> None:
    region = probed_region()
    for circle in region[-3:]:
        del circle["managingOrganization"][0]["identifier"]  # a participant is the same object
    skills = await checked(twisted, region)
    assert skills.lacks == ()
    assert skills.unproven == (":identifier",)
    assert "identifier" not in (skills.modifiers or ())


async def test_includes_without_iterate(twisted: Twisted) -> None:
    twisted.ask = lambda r: _with_pairs(r, [pair for pair in _pairs(r) if pair[0] != "_include:iterate"])
    assert (await checked(twisted)).lacks == ("iterate",)


async def test_iterate_may_be_refused_by_itself(twisted: Twisted) -> None:
    outcome = {"resourceType": "OperationOutcome"}
    twisted.ask = lambda r: answered(outcome, 400) if any("iterate" in name for name, _ in _pairs(r)) else r
    assert (await checked(twisted)).lacks == ("iterate",)


@pytest.mark.parametrize(("total", "lacks"), [(4, ("total",)), (3, ())])
async def test_a_wrong_total_is_no_total(twisted: Twisted, total: int, lacks: tuple[str, ...]) -> None:
    def counted(request: ManagerRequest, answer: ManagerAnswer) -> ManagerAnswer:
        if request.target != "CareTeam" or ("_total", "accurate") not in request.query:
            return answer
        return replace(answer, body=orjson.dumps(orjson.loads(answer.body) | {"total": total}))

    twisted.answer = counted
    assert (await checked(twisted)).lacks == lacks


async def test_a_next_link_that_leads_nowhere_new_is_no_paging(twisted: Twisted) -> None:
    def repeating(request: ManagerRequest, answer: ManagerAnswer) -> ManagerAnswer:
        bundle = orjson.loads(answer.body)
        if answer.status != 200 or bundle.get("type") != "searchset":
            return answer
        link = {"relation": "next", "url": "CareTeam?_count=1"}
        return replace(answer, body=orjson.dumps(bundle | {"link": [link]}))

    twisted.answer = repeating
    assert "paging" in (await checked(twisted)).lacks


async def test_a_reference_that_leads_nowhere_is_not_held_against_include(twisted: Twisted) -> None:
    region = probed_region()
    region[-1]["participant"][1]["member"]["reference"] = "RelatedPerson/long-gone"
    assert (await checked(twisted, region)).include is True


async def test_a_refused_search_without_criteria_is_tried_with_a_status(twisted: Twisted) -> None:
    def demanding(request: ManagerRequest) -> ManagerRequest | ManagerAnswer:
        bare = request.target == "CareTeam" and {name for name, _ in request.query} <= {"_count", "_total"}
        return answered({"resourceType": "OperationOutcome"}, 400) if bare else request

    twisted.ask = demanding
    skills = await checked(twisted)
    assert "chaining" not in skills.lacks
    assert skills.search_params["CareTeam"]


# --- little or nothing to try it with


async def test_an_empty_manager_is_taken_at_its_word_for_parameters_alone(twisted: Twisted) -> None:
    skills = await checked(twisted, [])
    assert skills.lacks == ()
    assert "CareTeam.identifier" in skills.unproven
    assert "identifier" in skills.search_params["CareTeam"]
    assert skills.modifiers is None
    for name in ("chaining", "include", "iterate", "revinclude", "sort", "elements", "paging", "post_search"):
        assert getattr(skills, name) is None, name
    for name in ("read", "vread", "history_instance"):
        assert getattr(skills, name) is None, name
    assert skills.history_type is True
    assert skills.total is True


async def test_an_empty_manager_can_still_refuse(twisted: Twisted) -> None:
    skills = await checked(twisted, [], no_post_search=True, no_type_history=True, no_total=True)
    assert skills.lacks == ("history-type", "post-search", "total")


async def test_what_is_neither_tried_nor_declared_does_not_count(twisted: Twisted) -> None:
    region = [resource | {"period": {"start": "2024-01-01"}} for resource in probed_region()]
    twisted.ask = lambda r: answered(b"not found", 404) if r.target == "metadata" else r
    skills = await checked(twisted, region)
    assert skills.lacks == ("param:CareTeam:end",)
    assert (skills.unproven, skills.software, skills.formats, skills.broker) == ((), None, (), None)


async def test_what_is_declared_and_cannot_be_tried_is_marked(twisted: Twisted) -> None:
    region = [resource | {"period": {"start": "2024-01-01"}} for resource in probed_region()]
    skills = await checked(twisted, region)
    assert (skills.lacks, skills.unproven) == ((), ("CareTeam.end",))


async def test_one_circle_says_nothing_about_order(twisted: Twisted) -> None:
    region = [r for r in probed_region() if r["resourceType"] != "CareTeam" or r["id"] == "circle-martin"]
    skills = await checked(twisted, region)
    assert (skills.sort, skills.paging, skills.chaining, skills.lacks) == (None, None, True, ())


async def test_a_type_that_is_not_searched_has_no_working_parameter(twisted: Twisted) -> None:
    outcome = {"resourceType": "OperationOutcome"}
    twisted.ask = lambda r: answered(outcome, 404) if r.target.startswith("Organization") else r
    skills = await checked(twisted)
    assert skills.search_params["Organization"] == ()
    assert "param:Organization:name" in skills.lacks


GARBAGE: list[Any] = [
    None,
    3,
    {"resource": []},
    {"resource": {"resourceType": "CareTeam", "id": "../../admin"}},
    {"resource": {"resourceType": "CareTeam", "id": ".."}},
    {"resource": {"resourceType": "CareTeam", "id": 7}},
    {
        "resource": {
            "resourceType": "CareTeam",
            "id": "odd",
            "meta": {"versionId": "../../admin", "lastUpdated": "yesterday", "tag": "x"},
            "identifier": [[], {"value": {}}, "x"],
            "status": ["active"],
            "period": "always",
            "subject": {"reference": "Patient/.."},
            "participant": [None, {"member": {"reference": 3}}, {"member": {"reference": "Nonsense/1"}}],
            "managingOrganization": {"reference": "Organization/1/../../admin"},
        },
        "search": "match",
    },
    {"resource": {"resourceType": "CareTeam", "id": "odder", "meta": [], "participant": {"member": []}}},
]


async def test_nonsense_is_survived_and_never_becomes_an_address() -> None:
    client = Twisted()
    bundle = SEARCHSET | {"entry": GARBAGE, "link": [{"relation": "next", "url": 3}], "total": "many"}
    client.ask = lambda _: answered(bundle)
    skills = await check(client, FakeClock(), gestionnaire("bre"), timeout=1)
    assert skills.search_params["CareTeam"] == ()
    assert {request.target.split("/")[0] for request in client.sent} <= {"metadata", *PARAMETERS}
    assert not any(".." in request.target for request in client.sent)


# --- managers that cannot be judged


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FailureKind.REFUSED),
        (403, FailureKind.REFUSED),
        (429, FailureKind.BUSY),
        (500, FailureKind.ERROR),
        (503, FailureKind.BUSY),
        (508, FailureKind.LOOP),
    ],
)
async def test_a_manager_that_fails_is_named(status: int, kind: FailureKind) -> None:
    client = Twisted()
    client.ask = lambda _: answered({"resourceType": "OperationOutcome"}, status)
    with pytest.raises(ManagerError) as raised:
        await check(client, FakeClock(), gestionnaire("bre"), timeout=1)
    assert (raised.value.kind, raised.value.params["slug"]) == (kind, "bre")


@pytest.mark.parametrize(
    "body", [b"<html><body>Bienvenue</body></html>", b"{", b'{"resourceType":"Patient"}']
)
async def test_what_speaks_no_fhir_is_no_manager(body: bytes) -> None:
    client = Twisted()
    client.ask = lambda _: answered(body)
    with pytest.raises(ManagerError) as raised:
        await check(client, FakeClock(), gestionnaire("bre"), timeout=1)
    assert raised.value.kind is FailureKind.INVALID


async def test_a_manager_out_of_reach_is_asked_once(http: HttpManagerClient) -> None:
    async with running_sandbox() as sandbox:
        gone = gestionnaire("bre", base_url=sandbox.base_url)
    client = Twisted(http)
    with pytest.raises(ManagerError) as raised:
        await check(client, FakeClock(), gone, timeout=5)
    assert raised.value.kind is FailureKind.UNREACHABLE
    assert len(client.sent) == 1


async def test_a_manager_that_goes_away_on_the_way_is_given_up(twisted: Twisted) -> None:
    def vanishing(request: ManagerRequest) -> ManagerRequest:
        if len(twisted.sent) > 20:
            raise ManagerError(FailureKind.UNREACHABLE)
        return request

    twisted.ask = vanishing
    with pytest.raises(ManagerError) as raised:
        await checked(twisted)
    assert raised.value.kind is FailureKind.UNREACHABLE
    assert len(twisted.sent) < 40


async def test_an_answer_that_comes_too_late_leaves_its_question_open(twisted: Twisted) -> None:
    def slow_statement(request: ManagerRequest) -> ManagerRequest:
        if request.target in ("metadata", "CareTeam/_history"):
            raise ManagerError(FailureKind.TIMEOUT)
        return request

    twisted.ask = slow_statement
    skills = await checked(twisted)
    assert (skills.software, skills.history_type, skills.lacks) == (None, None, ())


# --- checks and the breaker


class _Registry:
    def __init__(self, *registered: Registered) -> None:
        self.registered = registered

    def all(self) -> Sequence[Registered]:
        return self.registered

    def get(self, slug: str) -> Registered | None:
        return next((one for one in self.registered if one.gestionnaire.id == slug), None)


async def test_a_server_that_fails_on_odd_probes_keeps_its_breaker_closed(twisted: Twisted) -> None:
    def failing(request: ManagerRequest) -> ManagerRequest | ManagerAnswer:
        odd = any(":" in name or "." in name or name == "_sort" for name, _ in _pairs(request))
        return answered({"resourceType": "OperationOutcome"}, 500) if odd else request

    twisted.ask = failing
    in_flight: list[int] = []
    async with running_sandbox(probed_region()) as sandbox:
        manager = gestionnaire("bre", base_url=sandbox.base_url, max_connections=2)
        guard = ManagerGuard(twisted, _Registry(Registered(manager, 1, "")), SystemClock())

        def watched(request: ManagerRequest, answer: ManagerAnswer) -> ManagerAnswer:
            health = guard.state("bre")
            assert health is not None
            in_flight.append(health.in_flight)
            return answer

        twisted.answer = watched
        skills = await check(guard.unjudged(), SystemClock(), manager, timeout=5)
        health = guard.state("bre")
        assert health is not None
        assert (health.breaker, health.failures) == (BreakerState.CLOSED, 0)
        assert {"chaining", "sort", "modifier:exact"} <= set(skills.lacks)
        assert max(in_flight) == 2
        await guard.aclose()


# --- brokers


def _statement_of(federation_id: str, *behind: str) -> Json:
    statement = federation_statement(
        [], public_base="https://b.example/fhir", version="1", now="", federation_id=federation_id
    )
    known = statement["implementation"]["extension"]
    known += [{"url": known[0]["url"], "valueString": name} for name in behind]
    return statement


async def test_a_broker_is_recognised(twisted: Twisted) -> None:
    statement = _statement_of("other", "third")
    twisted.ask = lambda r: answered(statement) if r.target == "metadata" else r
    skills = await checked(twisted, federation_id="ours")
    assert (skills.broker, skills.federations, skills.chaining) == (True, ("other", "third"), True)


@pytest.mark.parametrize("names", [("ours",), ("other", "ours")])
async def test_a_broker_that_leads_back_is_refused(names: tuple[str, ...]) -> None:
    client = Twisted()
    client.ask = lambda _: answered(_statement_of(*names))
    with pytest.raises(ManagerError) as raised:
        await check(client, FakeClock(), gestionnaire("bre"), timeout=1, federation_id="ours")
    assert raised.value.kind is FailureKind.LOOP


async def test_an_answer_that_came_through_this_federation_is_a_loop(twisted: Twisted) -> None:
    twisted.answer = lambda _, answer: replace(
        answer, headers={**answer.headers, "via": "1.1 far, 1.1 cds-broker-ours"}
    )
    with pytest.raises(ManagerError) as raised:
        await checked(twisted, federation_id="ours")
    assert raised.value.kind is FailureKind.LOOP


async def test_requests_say_whose_they_are(twisted: Twisted) -> None:
    await checked(twisted, federation_id="ours")
    assert {request.headers.get("Via") for request in twisted.sent} == {"1.1 cds-broker-ours"}
