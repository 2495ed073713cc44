"""Every manager can fail: each fault, against the client behind its guard, over real sockets.

What must hold for each: the failure has its right kind, it is known within the bound, nothing leaks (connection,
task), and a healthy manager asked at the same moment answers as if nothing were.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import format_datetime

import msgspec
import pytest

from adapters.clock import SystemClock
from adapters.manager_http import HttpManagerClient
from broker.core.breaker import BreakerPolicy, BreakerState
from broker.errors import FailureKind, ManagerError
from broker.federation.manager_guard import ManagerGuard, ManagerHealth
from broker.ports import ManagerAnswer, ManagerRequest
from registry.model import Gestionnaire, SearchMethod, Skills, Status
from tests.support.fake_clock import FakeClock, settle
from tests.support.fhir_builders import circles
from tests.support.scripted_manager import (
    Faults,
    FixedManagers,
    Reply,
    ScriptedManager,
    gzip_bomb,
    scripted_manager,
)
from tests.support.waiting import until

SEARCH = ManagerRequest("POST", "CareTeam/_search", form=[("_count", "10")])
TIMEOUT = 0.75
"""Seconds: a fault that is no delay is seen well before it, also on a busy machine."""
MAX_BYTES = 200_000
QUICK = BreakerPolicy(probe_interval=0.1, max_interval=0.1)


@pytest.fixture
async def client() -> AsyncIterator[HttpManagerClient]:
    client = HttpManagerClient(SystemClock(), max_bytes=MAX_BYTES)
    yield client
    await client.aclose()


@pytest.fixture
async def healthy() -> AsyncIterator[ScriptedManager]:
    async with scripted_manager(circles(10)) as manager:
        yield manager


def guarded(
    client: HttpManagerClient, *managers: Gestionnaire, policy: BreakerPolicy = QUICK
) -> ManagerGuard:
    return ManagerGuard(client, FixedManagers(*managers), SystemClock(), policy=policy)


FAULTS: list[tuple[str, Faults, FailureKind]] = [
    ("reset", Faults(reset=True), FailureKind.UNREACHABLE),
    ("hang", Faults(hang=True), FailureKind.TIMEOUT),
    ("late", Faults(delay=2.5), FailureKind.TIMEOUT),
    ("hang in body", Faults(hang_in_body=True), FailureKind.TIMEOUT),
    ("slow drip", Faults(drip=0.05), FailureKind.TIMEOUT),
    ("cut in body", Faults(cut=True), FailureKind.UNREACHABLE),
    ("cut in chunks", Faults(cut=True, chunked=True), FailureKind.UNREACHABLE),
    ("declares more than it sends", Faults(content_length=50_000, cut=True), FailureKind.UNREACHABLE),
    ("declares more and waits", Faults(content_length=50_000), FailureKind.TIMEOUT),
    ("declares too much", Faults(content_length=10**12), FailureKind.TOO_LARGE),
    ("no HTTP", Faults(garbage=True), FailureKind.INVALID),
    ("huge", Faults(huge=MAX_BYTES), FailureKind.TOO_LARGE),
    ("huge in chunks", Faults(huge=MAX_BYTES, chunked=True), FailureKind.TOO_LARGE),
    ("gzip bomb", Faults(gzip_bomb=32 << 20), FailureKind.TOO_LARGE),
    ("bad gzip", Faults(bad_gzip=True), FailureKind.INVALID),
    ("short gzip", Faults(short_gzip=True), FailureKind.INVALID),
    ("a coding nobody asked for", Faults(coding="br"), FailureKind.INVALID),
    ("redirect", Faults(redirect="http://127.0.0.1:1/evil"), FailureKind.REDIRECT),
    ("redirect to itself", Faults(redirect="/fhir/CareTeam"), FailureKind.REDIRECT),
]


@pytest.mark.parametrize(("faults", "kind"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
async def test_each_fault_has_its_kind_and_harms_nobody_else(
    client: HttpManagerClient, healthy: ScriptedManager, faults: Faults, kind: FailureKind
) -> None:
    tasks_before = asyncio.all_tasks()
    async with scripted_manager(circles(10), faults=replace(faults)) as broken:
        bad, good = broken.gestionnaire("bad", timeout=TIMEOUT), healthy.gestionnaire("good")
        guard = guarded(client, bad, good)
        started = time.monotonic()
        failure, answer = await asyncio.gather(
            guard.send(bad, SEARCH, timeout=5), guard.send(good, SEARCH, timeout=5), return_exceptions=True
        )
        assert time.monotonic() - started < TIMEOUT + 0.7
        assert isinstance(failure, ManagerError)
        assert failure.kind is kind
        assert failure.params["slug"] == "bad"
        assert "identifier" not in str(failure.params)
        assert isinstance(answer, ManagerAnswer)
        assert len(json.loads(answer.body)["entry"]) == 10
        # What came whole, in good framing, may leave its connection to the next; what did not is cut.
        whole = kind not in (FailureKind.TIMEOUT, FailureKind.UNREACHABLE)
        await until(lambda: broken.active == 0 and broken.connections <= whole)
        assert guard.state("bad") is not None
        broken.faults = Faults()
        assert (await client.send(bad, SEARCH, timeout=5)).status == 200  # nothing of the failure lingers
        await guard.aclose()
        await client.aclose()
        await until(lambda: broken.connections == healthy.connections == 0)
    await until(lambda: asyncio.all_tasks() <= tasks_before)


async def test_refused_and_unknown_hosts_are_unreachable(client: HttpManagerClient) -> None:
    async with scripted_manager(listening=False) as manager:
        who = manager.gestionnaire()
        nowhere = manager.gestionnaire("x", base_url="http://manager.invalid/fhir")
        for target in (who, nowhere):
            with pytest.raises(ManagerError) as caught:
                await client.send(target, SEARCH, timeout=5)
            assert caught.value.kind is FailureKind.UNREACHABLE
        await manager.accept()
        assert (await client.send(who, SEARCH, timeout=5)).status == 200


async def test_bytes_after_an_answer_are_not_read_as_the_next_one(client: HttpManagerClient) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    async with scripted_manager(circles(1), faults=Faults(trailing=forged, times=1)) as manager:
        who = manager.gestionnaire()
        for _ in range(3):
            answer = await client.send(who, ManagerRequest("GET", "CareTeam/c0"), timeout=2)
            assert json.loads(answer.body)["id"] == "c0"


async def test_a_link_out_of_the_base_is_refused_and_nothing_is_sent(
    client: HttpManagerClient, healthy: ScriptedManager
) -> None:
    async with scripted_manager() as manager:
        guard = guarded(client, who := manager.gestionnaire())
        for target in (f"{healthy.base_url}/CareTeam", f"{manager.base_url}x/CareTeam", "CareTeam/.."):
            for _ in range(3):
                with pytest.raises(ManagerError) as caught:
                    await guard.send(who, ManagerRequest("GET", target), timeout=2)
                assert caught.value.kind is FailureKind.REDIRECT
        assert manager.requests == healthy.requests == []
        health = guard.state(who.id)
        assert health is not None
        assert health.breaker is BreakerState.CLOSED
        await guard.aclose()


async def test_a_gzip_bomb_leaves_the_loop_to_others(client: HttpManagerClient) -> None:
    """Others get a turn for each little step of it: a whole body at once would give them one or two."""
    wide = HttpManagerClient(SystemClock(), max_bytes=64 << 20)
    bomb = gzip_bomb(128 << 20)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with scripted_manager() as manager:
        manager.replies["CareTeam"] = Reply(200, bomb, {"Content-Encoding": "gzip"})
        running = asyncio.create_task(others())
        with pytest.raises(ManagerError) as caught:
            await wide.send(manager.gestionnaire(), ManagerRequest("GET", "CareTeam"), timeout=30)
        running.cancel()
        assert caught.value.kind is FailureKind.TOO_LARGE
        assert turns > 200
    await wide.aclose()


async def test_cancelling_closes_the_connection_and_is_neutral(client: HttpManagerClient) -> None:
    async with scripted_manager(faults=Faults(hang=True)) as manager:
        guard = guarded(client, who := manager.gestionnaire(timeout=5.0))
        for _ in range(4):
            sending = asyncio.create_task(guard.send(who, SEARCH, timeout=5))
            await until(lambda: manager.active == 1)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await until(lambda: manager.connections == 0)
        health = guard.state(who.id)
        assert health is not None
        assert (health.breaker, health.failures, health.in_flight) == (BreakerState.CLOSED, 0, 0)
        manager.faults = Faults()
        assert (await guard.send(who, SEARCH, timeout=2)).status == 200
        await guard.aclose()


# --- the guard: its own limit


async def test_no_more_than_max_connections_and_the_rest_wait_their_turn(client: HttpManagerClient) -> None:
    async with scripted_manager(circles(1), faults=Faults(delay=0.02)) as manager:
        guard = guarded(client, who := manager.gestionnaire(max_connections=3))
        answers = await asyncio.gather(*(guard.send(who, SEARCH, timeout=5) for _ in range(18)))
        assert [a.status for a in answers] == [200] * 18
        assert manager.max_active == 3
        await guard.aclose()


async def test_a_full_manager_says_busy_within_the_bound_and_that_is_no_failure(
    client: HttpManagerClient, healthy: ScriptedManager
) -> None:
    async with scripted_manager(faults=Faults(hang=True)) as manager:
        who, good = manager.gestionnaire("bad", max_connections=2, timeout=2.0), healthy.gestionnaire("good")
        guard = ManagerGuard(client, FixedManagers(who, good), SystemClock(), queue_wait=0.1)
        held = [asyncio.create_task(guard.send(who, SEARCH, timeout=2)) for _ in range(2)]
        await until(lambda: manager.active == 2)
        started = time.monotonic()
        results = await asyncio.gather(
            *(guard.send(who, SEARCH, timeout=2) for _ in range(30)), return_exceptions=True
        )
        assert time.monotonic() - started < 0.6
        assert {r.kind for r in results if isinstance(r, ManagerError)} == {FailureKind.BUSY}
        assert len(manager.requests) == 2
        assert (await guard.send(good, SEARCH, timeout=2)).status == 200
        health = guard.state("bad")
        assert health is not None
        assert (health.breaker, health.failures, health.in_flight, health.waiting) == (
            BreakerState.CLOSED,
            0,
            2,
            0,
        )
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await guard.aclose()


async def test_a_changed_limit_takes_effect(client: HttpManagerClient) -> None:
    async with scripted_manager(circles(1), faults=Faults(delay=0.02)) as manager:
        guard = guarded(client, who := manager.gestionnaire(max_connections=1))
        await guard.send(who, SEARCH, timeout=5)
        wider = msgspec.structs.replace(who, max_connections=4)
        await asyncio.gather(*(guard.send(wider, SEARCH, timeout=5) for _ in range(8)))
        assert manager.max_active == 4
        await guard.aclose()


# --- the guard: its breaker


async def fail(
    guard: ManagerGuard, who: Gestionnaire, times: int = 1, patience: float = 5
) -> list[FailureKind]:
    kinds = []
    for _ in range(times):
        with pytest.raises(ManagerError) as caught:
            await guard.send(who, SEARCH, timeout=patience)
        kinds.append(caught.value.kind)
    return kinds


async def test_a_hung_manager_costs_two_timeouts_then_nothing_and_is_back_within_its_interval(
    client: HttpManagerClient,
) -> None:
    changes: list[ManagerHealth] = []
    async with scripted_manager(circles(1), faults=Faults(hang=True)) as manager:
        who = manager.gestionnaire(timeout=0.2)
        policy = BreakerPolicy(probe_interval=0.25, max_interval=0.25)
        guard = ManagerGuard(
            client, FixedManagers(who), SystemClock(), policy=policy, on_change=changes.append
        )
        assert await fail(guard, who, 2) == [FailureKind.TIMEOUT] * 2
        started = time.monotonic()
        assert set(await fail(guard, who, 200)) == {FailureKind.BREAKER_OPEN}
        assert time.monotonic() - started < 0.2
        assert len(manager.requests) == 2
        await until(lambda: len(manager.requests) >= 4)  # probes, and only probes
        assert {tuple(r.form) for r in manager.requests[2:]} == {
            (("_count", "1"), ("_elements", "identifier"))
        }
        manager.faults = Faults()
        back = time.monotonic()
        await until(lambda: len(changes) == 2)
        assert time.monotonic() - back < policy.probe_interval + 0.3
        assert [c.breaker for c in changes] == [BreakerState.OPEN, BreakerState.CLOSED]
        assert (changes[0].last_kind, changes[0].failures) == (FailureKind.TIMEOUT, 2)
        assert (await guard.send(who, SEARCH, timeout=2)).status == 200
        await guard.aclose()


async def test_one_probe_at_a_time_whatever_the_load(client: HttpManagerClient) -> None:
    async with scripted_manager(circles(1), faults=Faults(hang=True)) as manager:
        guard = guarded(client, who := manager.gestionnaire(timeout=0.1))
        await fail(guard, who, 2)
        await until(lambda: manager.active == 0)
        manager.max_active = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            await asyncio.gather(
                *(guard.send(who, SEARCH, timeout=1) for _ in range(10)), return_exceptions=True
            )
            await asyncio.sleep(0.01)
        assert manager.max_active == 1
        assert 2 <= len(manager.requests) - 2 <= 6
        await guard.aclose()
        await until(lambda: manager.connections == 0)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_statuses_that_open_it_are_still_handed_back(client: HttpManagerClient, status: int) -> None:
    async with scripted_manager(faults=Faults(status=status)) as manager:
        guard = guarded(client, who := manager.gestionnaire(), policy=BreakerPolicy())
        for _ in range(2):
            assert (await guard.send(who, SEARCH, timeout=2)).status == status
        assert await fail(guard, who) == [FailureKind.BREAKER_OPEN]
        await guard.aclose()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 412, 422, 501, 508])
async def test_statuses_of_a_living_manager_do_not_open_it(client: HttpManagerClient, status: int) -> None:
    async with scripted_manager(faults=Faults(status=status)) as manager:
        guard = guarded(client, who := manager.gestionnaire())
        for _ in range(5):
            assert (await guard.send(who, SEARCH, timeout=2)).status == status
        await guard.aclose()


@pytest.mark.parametrize("faults", [Faults(huge=MAX_BYTES), Faults(bad_gzip=True), Faults(redirect="/x")])
async def test_bad_answers_do_not_open_it(client: HttpManagerClient, faults: Faults) -> None:
    async with scripted_manager(circles(1), faults=faults) as manager:
        guard = guarded(client, who := manager.gestionnaire())
        assert FailureKind.BREAKER_OPEN not in await fail(guard, who, 4)
        await guard.aclose()


async def test_an_impatient_client_cannot_shut_a_region_for_others(client: HttpManagerClient) -> None:
    async with scripted_manager(circles(1), faults=Faults(delay=0.2)) as manager:
        guard = guarded(client, who := manager.gestionnaire(timeout=2.0))
        assert await fail(guard, who, 5, patience=0.03) == [FailureKind.TIMEOUT] * 5
        assert (await guard.send(who, SEARCH, timeout=5)).status == 200
        await guard.aclose()


async def test_the_managers_own_deadline_binds_a_patient_caller(client: HttpManagerClient) -> None:
    async with scripted_manager(faults=Faults(hang=True)) as manager:
        who = manager.gestionnaire()
        guard = ManagerGuard(client, FixedManagers(who), SystemClock(), default_timeout=0.1)
        started = time.monotonic()
        await fail(guard, who, patience=60)
        await fail(guard, msgspec.structs.replace(who, timeout=0.2), patience=60)
        assert time.monotonic() - started < 1.0
        await guard.aclose()


async def test_late_failures_of_the_time_before_do_not_open_it_again(client: HttpManagerClient) -> None:
    async with scripted_manager(circles(1), faults=Faults(hang=True, times=6)) as manager:
        who = manager.gestionnaire(timeout=0.6)
        guard = guarded(client, who)
        late = [asyncio.create_task(guard.send(who, SEARCH, timeout=5)) for _ in range(4)]
        await until(lambda: manager.active == 4)
        quick = msgspec.structs.replace(who, timeout=0.05)
        await fail(guard, quick, 2)  # opened by these
        await until(lambda: _state(guard) is BreakerState.CLOSED)  # and found back
        results = await asyncio.gather(*late, return_exceptions=True)
        assert all(isinstance(r, ManagerError) and r.kind is FailureKind.TIMEOUT for r in results)
        assert _state(guard) is BreakerState.CLOSED
        await guard.aclose()


def _state(guard: ManagerGuard) -> BreakerState | None:
    health = guard.state("bre")
    return health.breaker if health else None


# --- the guard: probing in virtual time


class ScriptedClient:
    """A `ManagerClient` without a network: answers, or fails, as `result` says."""

    def __init__(self) -> None:
        self.result: ManagerAnswer | BaseException = _answer(500)
        self.sent: list[ManagerRequest] = []
        self.timeouts: list[float] = []

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        self.sent.append(request)
        self.timeouts.append(timeout)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def _answer(status: int, **headers: str) -> ManagerAnswer:
    return ManagerAnswer(status, {k.replace("_", "-"): v for k, v in headers.items()}, b"", 0.0)


WHO = Gestionnaire(id="bre", name="Bretagne", region="53", base_url="http://bre.example/fhir")


class Probed:
    """A guard in virtual time whose breaker has just opened."""

    def __init__(self, managers: FixedManagers | None = None) -> None:
        self.clock = FakeClock()
        self.client = ScriptedClient()
        self.managers = managers or FixedManagers(WHO)
        self.guard = ManagerGuard(self.client, self.managers, self.clock)

    async def open(self, who: Gestionnaire = WHO) -> None:
        for _ in range(2):
            await self.guard.send(who, SEARCH, timeout=5)
        assert _state(self.guard) is BreakerState.OPEN
        self.client.sent.clear()


@pytest.fixture
async def probed() -> AsyncIterator[Probed]:
    probed = Probed()
    await probed.open()
    yield probed
    await probed.guard.aclose()
    assert probed.clock.sleeping == 0


async def test_probes_come_at_their_intervals_and_the_first_success_closes(probed: Probed) -> None:
    for wait, count in ((4.9, 0), (0.1, 1), (9.9, 1), (0.1, 2), (20.0, 3), (30.0, 4), (30.0, 5)):
        await probed.clock.advance(wait)
        assert len(probed.client.sent) == count
    probed.client.result = _answer(200)
    health = probed.guard.state("bre")
    assert health is not None
    assert (health.probe_interval, health.failures) == (30.0, 7)
    assert health.next_probe == pytest.approx(30.0)
    assert (probed.clock.now() - health.since) == dt.timedelta(seconds=95)
    await probed.clock.advance(30.0)
    assert _state(probed.guard) is BreakerState.CLOSED
    await probed.clock.advance(300.0)
    assert len(probed.client.sent) == 6
    assert (await probed.guard.send(WHO, SEARCH, timeout=1)).status == 200


async def test_a_probe_waits_no_longer_than_its_interval_nor_than_any_request(probed: Probed) -> None:
    slow = msgspec.structs.replace(WHO, timeout=8.0)
    probed.managers.entries["bre"] = msgspec.structs.replace(
        probed.managers.entries["bre"], gestionnaire=slow
    )
    for wait in (5, 10, 20):
        await probed.clock.advance(wait)
    assert probed.client.timeouts[-3:] == [5.0, 8.0, 8.0]


@pytest.mark.parametrize("status", [200, 400, 401, 404, 501])
async def test_a_probe_that_is_answered_closes(probed: Probed, status: int) -> None:
    probed.client.result = _answer(status)
    await probed.clock.advance(5)
    assert _state(probed.guard) is BreakerState.CLOSED


@pytest.mark.parametrize(
    "result",
    [
        _answer(500),
        _answer(429),
        _answer(408),
        ManagerError(FailureKind.TIMEOUT),
        ManagerError(FailureKind.REDIRECT),
    ],
)
async def test_a_probe_that_fails_keeps_it_open(probed: Probed, result: ManagerAnswer | ManagerError) -> None:
    probed.client.result = result
    await probed.clock.advance(5)
    assert len(probed.client.sent) == 1
    assert _state(probed.guard) is BreakerState.OPEN


async def test_a_defect_in_a_probe_is_reported_and_does_not_shut_the_region_for_good(probed: Probed) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    probed.client.result = defect = RuntimeError("defect")
    await probed.clock.advance(5)
    assert reported == [defect]
    probed.client.result = _answer(200)
    await probed.clock.advance(10)
    assert _state(probed.guard) is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("12", 12.0),
        ("86400", 30.0),
        (format_datetime(dt.datetime(2026, 1, 1, 0, 0, 7, tzinfo=dt.UTC), usegmt=True), 7.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_kept_within_the_bound(value: str, wait: float, status: int) -> None:
    probed = Probed()
    probed.client.result = _answer(status, retry_after=value)
    await probed.guard.send(WHO, SEARCH, timeout=1)
    health = probed.guard.state("bre")
    assert health is not None
    assert health.next_probe == pytest.approx(wait)
    await probed.clock.advance(wait - 0.1)
    assert len(probed.client.sent) == 1
    await probed.clock.advance(0.1)
    assert len(probed.client.sent) == 2
    await probed.guard.aclose()


@pytest.mark.parametrize("value", ["", "soon", "-5", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "²"])
async def test_a_retry_after_that_says_nothing_counts_as_one_failure(value: str) -> None:
    probed = Probed()
    probed.client.result = _answer(503, retry_after=value)
    await probed.guard.send(WHO, SEARCH, timeout=1)
    assert _state(probed.guard) is BreakerState.CLOSED
    await probed.guard.aclose()


@pytest.mark.parametrize("what", ["removed", "suspended", "moved"])
async def test_a_manager_that_is_gone_is_probed_no_more(probed: Probed, what: str) -> None:
    entry = probed.managers.entries.pop("bre")
    if what != "removed":
        changes = (
            {"status": Status.SUSPENDED} if what == "suspended" else {"base_url": "http://new.example/fhir"}
        )
        changed = msgspec.structs.replace(entry.gestionnaire, **changes)
        probed.managers.entries["bre"] = msgspec.structs.replace(entry, gestionnaire=changed)
    await probed.clock.advance(60)
    assert probed.client.sent == []
    assert probed.guard.state("bre") is None
    assert probed.guard.states() == {}


async def test_a_new_address_is_asked_at_once(probed: Probed) -> None:
    moved = msgspec.structs.replace(WHO, base_url="http://new.example/fhir")
    probed.managers.entries["bre"] = msgspec.structs.replace(
        probed.managers.entries["bre"], gestionnaire=moved
    )
    probed.client.result = _answer(200)
    assert (await probed.guard.send(moved, SEARCH, timeout=1)).status == 200
    await settle()
    assert probed.clock.sleeping == 0  # the old address's probe ended


@pytest.mark.parametrize(
    ("method", "post_search", "expected"),
    [
        (SearchMethod.AUTO, None, "POST"),
        (SearchMethod.AUTO, False, "GET"),
        (SearchMethod.GET, True, "GET"),
        (SearchMethod.POST, False, "POST"),
    ],
)
async def test_the_probe_asks_as_the_manager_takes_it(
    method: SearchMethod, post_search: bool | None, expected: str
) -> None:
    who = msgspec.structs.replace(WHO, search_method=method)
    managers = FixedManagers(who)
    managers.entries["bre"] = msgspec.structs.replace(
        managers.entries["bre"], skills=Skills(post_search=post_search)
    )
    probed = Probed(managers)
    await probed.open(who)
    await probed.clock.advance(5)
    assert [r.method for r in probed.client.sent] == [expected]
    await probed.guard.aclose()


async def test_closing_the_guard_ends_its_probe_in_flight(client: HttpManagerClient) -> None:
    async with scripted_manager(faults=Faults(hang=True)) as manager:
        who = manager.gestionnaire(timeout=0.1)
        guard = guarded(client, who, policy=BreakerPolicy(probe_interval=0.1, max_interval=10))
        await fail(guard, who, 2)
        await until(lambda: len(manager.requests) == 3 and manager.active == 1)
        await guard.aclose()
        await guard.aclose()
        await until(lambda: manager.connections == 0)
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("probe")]


async def test_an_html_page_is_an_answer_here_and_judged_by_who_reads_it(client: HttpManagerClient) -> None:
    async with scripted_manager(faults=Faults(html=True)) as manager:
        answer = await client.send(manager.gestionnaire(), SEARCH, timeout=2)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html")
        manager.faults = Faults()
        manager.replies["CareTeam/_search"] = Reply(200, b"", {})
        assert (await client.send(manager.gestionnaire(), SEARCH, timeout=2)).body == b""
