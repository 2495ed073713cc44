"""States, tiles, curves, formats, signed content: as functions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from broker.console.federation_view import HEIGHT, WIDTH, State, by_state, spark, state_of, tiles
from broker.console.federation_view import ManagerLine as Line
from broker.console.formats import Formats
from broker.console.registry_form import declared, wrongs
from broker.console.signing import Signer
from broker.core.breaker import BreakerState
from broker.errors import FailureKind
from broker.federation.manager_guard import ManagerHealth
from broker.federation.traffic import BUCKET_SECONDS, BUCKETS, Recent, Traffic
from registry.model import Gestionnaire, Registered, Status
from registry.validation import InvalidDeclarationError, declaration
from tests.support.fake_stores import ManualClock

NOW = dt.datetime(2026, 3, 4, 15, 6, 7, tzinfo=dt.UTC)


def registered(status: Status = Status.ACTIVE) -> Registered:
    return Registered(Gestionnaire("bre", "Bretagne", "53", "http://bre", status=status), 1, "2026-01-01")


def health(breaker: BreakerState) -> ManagerHealth:
    return ManagerHealth("bre", breaker, NOW, 0, None, 0, 0, None, 5.0)


def state(traffic: Traffic, **given: Any) -> State:
    one = given.get("one", registered())
    return state_of(one, given.get("health"), traffic.of("bre"), traffic.recent("bre"))


def test_a_manager_is_what_its_last_exchanges_say() -> None:
    traffic = Traffic(ManualClock())
    assert state(traffic) is State.UNKNOWN
    traffic.observe("bre", None, 0.2)
    assert state(traffic) is State.UP
    traffic.observe("bre", FailureKind.UNREACHABLE, 0.1)
    assert state(traffic) is State.UP, "one failure is no outage"
    traffic.observe("bre", FailureKind.TIMEOUT, 0.1)
    assert state(traffic) is State.FAILING
    traffic.observe("bre", FailureKind.REJECTED, 0.1)
    assert state(traffic) is State.UP, "it answers: it does not take one request"
    traffic.observe("bre", None, 9.0)
    assert state(traffic) is State.SLOW
    assert state(traffic, health=health(BreakerState.HALF_OPEN)) is State.FAILING
    assert state(traffic, health=health(BreakerState.CLOSED)) is State.SLOW
    assert (
        state(traffic, one=registered(Status.SUSPENDED), health=health(BreakerState.OPEN)) is State.SUSPENDED
    )


def test_traffic_is_that_of_the_last_minutes() -> None:
    clock = ManualClock()
    traffic = Traffic(clock)
    traffic.observe("bre", None, 0.2)
    traffic.observe("bre", FailureKind.ERROR, 0.4)
    assert traffic.recent("bre") == Recent(2, pytest.approx(0.3), 0.5)
    assert traffic.recent("occ") == Recent(0, None, None)
    clock.advance(61)
    assert traffic.recent("bre") == Recent(0, None, None)
    assert len([one for one in traffic.line("bre") if one is not None]) == 1
    clock.advance(BUCKETS * BUCKET_SECONDS)
    assert {*traffic.line("bre")} == {None}
    assert len(traffic.line("bre")) == BUCKETS
    known = traffic.of("bre")
    assert known is not None
    assert known.results == {"ok": 1, "error": 1}
    traffic.keep({"occ"})
    assert traffic.of("bre") is None


def test_traffic_of_a_long_life_is_bounded() -> None:
    clock = ManualClock()
    traffic = Traffic(clock)
    for _ in range(3 * BUCKETS):
        traffic.observe("bre", None, 0.1)
        clock.advance(BUCKET_SECONDS)
    known = traffic.of("bre")
    assert known is not None
    assert len(known.buckets) == BUCKETS


def line(slug: str, region: str, what: State) -> Line:
    return Line(slug, slug, region, what, None, Recent(0, None, None), None, None, None, spark([]))


def test_a_tile_shows_the_worst_of_its_region() -> None:
    lines = [line("a", "53", State.UP), line("b", "53", State.FAILING), line("c", "94", State.SUSPENDED)]
    found = {one.region: one for one in tiles(lines)}
    assert len(found) == 18
    assert (found["53"].state, found["53"].of_that_state, len(found["53"].managers)) == (State.FAILING, 1, 2)
    assert found["94"].state is State.SUSPENDED
    assert found["11"].state is None
    assert by_state(lines)[State.UP] == 1


def test_a_curve_stays_in_its_frame_and_breaks_where_nothing_was() -> None:
    clock = ManualClock()
    traffic = Traffic(clock)
    for seconds, wait in ((0.1, 10), (0.4, 10), (0.2, 30), (0.3, 0)):
        traffic.observe("bre", FailureKind.ERROR if seconds == 0.4 else None, seconds)
        clock.advance(wait)
    drawn = spark(traffic.line("bre"))
    assert drawn.most == 0.4
    assert len(drawn.lines) == 2
    assert len(drawn.failures) == 1
    for points in drawn.lines:
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH + 2
            assert 0 <= y <= HEIGHT
    assert spark([None] * 5).lines == ()


@pytest.mark.parametrize(
    ("value", "fr", "en"),
    [
        (None, "inconnu", "unknown"),
        (0, "0 s", "0 s"),
        (0.0004, "1 ms", "1 ms"),
        (0.25, "250 ms", "250 ms"),
        (1.24, "1,2 s", "1.2 s"),
        (119, "119 s", "119 s"),
        (120, "2 min", "2 min"),
        (7_200, "2 h", "2 h"),
        (172_800, "2 j", "2 d"),
    ],
)
def test_durations_are_in_the_unit_that_fits(value: float | None, fr: str, en: str) -> None:
    assert (Formats("fr", NOW).seconds(value), Formats("en", NOW).seconds(value)) == (fr, en)


def test_numbers_and_instants_are_in_the_language() -> None:
    fr, en = Formats("fr", NOW), Formats("en", NOW)
    assert (fr.number(1_234_567), en.number(1_234_567)) == ("1\u202f234\u202f567", "1,234,567")
    assert (fr.percent(0.125), en.percent(0.125)) == ("12,5 %", "12.5%")
    assert fr.time(NOW) == '<time datetime="2026-03-04T15:06:07.000+00:00">4 mars 2026 15:06:07 UTC</time>'
    assert "4 Mar 2026 15:06:07 UTC" in en.time("2026-03-04T16:06:07+01:00")
    assert en.time(None) == "unknown"


def test_what_was_signed_is_only_taken_back_from_whom_it_was_given_to() -> None:
    clock = ManualClock()
    signer = Signer.of_secret(clock, b"a secret")
    sealed = signer.seal("form", b"content", "me", seconds=10)
    assert signer.open("form", sealed, "me") == b"content"
    assert signer.open("form", sealed, "you") is None
    assert signer.open("flash", sealed, "me") is None
    assert Signer.of_secret(clock, b"another").open("form", sealed, "me") is None
    for place in range(len(sealed)):
        torn = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        assert (
            signer.open("form", torn, "me") in (None, b"content")
            if place == len(sealed) - 1
            else (signer.open("form", torn, "me") is None)
        )
    for nonsense in ("", "é", "===", "A" * 7, sealed[:-20]):
        assert signer.open("form", nonsense, "me") is None
    clock.advance(12)
    assert signer.open("form", sealed, "me") is None


def test_a_form_is_a_declaration() -> None:
    form = {
        "id": " bre ",
        "name": "Bretagne",
        "region": "53",
        "base_url": "https://bre.example/fhir",
        "territory": "22, 29 35",
        "timeout": "2,5",
        "auth": "bearer",
        "token_env": "BRE_TOKEN",
    }
    made = declaration(declared(form))
    assert (made.id, made.territory, made.timeout) == ("bre", ("22", "29", "35"), 2.5)
    assert (made.auth.type, made.auth.token_env) == ("bearer", "BRE_TOKEN")
    with pytest.raises(InvalidDeclarationError) as caught:
        declaration(declared({"id": "bre", "name": "", "timeout": "soon"}))
    assert {one.field for one in wrongs(caught.value, "en")} == {"name", "timeout", "region", "base_url"}
    with pytest.raises(InvalidDeclarationError) as caught:
        declaration(declared(form | {"id": "Bre!", "token_env": ""}))
    assert {one.field for one in wrongs(caught.value, "fr")} == {"id", "auth", "token_env"}
