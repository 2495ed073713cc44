"""A Subscription read, judged, kept, changed and shown again."""

from __future__ import annotations

import datetime as dt
import json
from copy import deepcopy
from typing import Any

import pytest

from broker.core.outcome import render_error, status_of
from broker.core.structure import structure_faults
from broker.core.subscription import TOPIC, ChannelKind, ContentLevel, Subscription, SubscriptionStatus
from broker.core.subscription_channel import (
    BACKPORT,
    CONTENT,
    HEARTBEAT,
    HIDDEN,
    MAX_COUNT,
    SECRET,
    is_endpoint,
)
from broker.core.subscription_form import (
    FILTER,
    SubscriptionRules,
    drawn,
    read_subscription,
    restored,
    to_fhir,
    with_secret,
)
from broker.errors import RefusedError
from tests.support.change_events import PUBLIC
from tests.support.fhir_builders import INS, INS_TEST

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
RULES = SubscriptionRules(PUBLIC, NOW)
KEY = "k" * 32

Resource = dict[str, Any]


def content(level: str) -> Resource:
    return {"extension": [{"url": CONTENT, "valueCode": level}]}


def message(**channel: Any) -> Resource:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "replication",
        "criteria": "CareTeam?status=active",
        "channel": {"type": "message", "endpoint": "kafka:occ", "payload": "application/fhir+json"} | channel,
    }


def hook(**channel: Any) -> Resource:
    whole = message() | {"contact": [{"system": "email", "value": "soc@region.example"}]}
    whole["channel"] = {
        "type": "rest-hook",
        "endpoint": "https://region.example/hook",
        "header": ["Authorization: Bearer abc"],
        "extension": [{"url": SECRET, "valueString": KEY}, {"url": HEARTBEAT, "valueUnsignedInt": 3600}],
    } | channel
    return whole


def unsigned(**channel: Any) -> Resource:
    whole = hook(**channel)
    del whole["channel"]["extension"]
    return whole


def read(resource: Resource, previous: Subscription | None = None) -> Subscription:
    return read_subscription(resource, RULES, previous=previous)


def refused(resource: Resource) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        read(resource)
    return status_of(caught.value), render_error(caught.value).decode()


# --- reading


def test_a_topic() -> None:
    found = read(message())
    assert found.channel.kind is ChannelKind.MESSAGE
    assert (found.channel.slug, found.channel.content) == ("occ", ContentLevel.FULL)
    assert (found.status, found.sends) == (SubscriptionStatus.REQUESTED, False)
    assert found.criteria.text == "CareTeam?status=active"
    assert read(message(endpoint="cds.replication.occ")).channel.slug == "occ"


def test_a_hook() -> None:
    channel = read(hook()).channel
    assert channel.kind is ChannelKind.REST_HOOK
    assert (channel.header, channel.heartbeat) == ((("Authorization", "Bearer abc"),), 3600)
    assert (channel.slug, channel.max_count, read(hook()).secret) == (None, None, KEY)


def test_nothing_secret_is_in_a_repr() -> None:
    resource = hook() | {"criteria": f"CareTeam?patient.identifier={INS_TEST}|{INS[0]}"}
    shown = repr(read(resource))
    assert not any(secret in shown for secret in (KEY, "Bearer", INS[0]))


@pytest.mark.parametrize(
    ("payload", "level", "expected"),
    [
        (None, None, ContentLevel.ID_ONLY),
        ("application/fhir+json", None, ContentLevel.FULL),
        ("application/fhir+json;charset=utf-8", "id-only", ContentLevel.ID_ONLY),
        ("application/fhir+json", "full-resource", ContentLevel.FULL),
        (None, "full-resource", ContentLevel.FULL),
        ("application/json", "empty", ContentLevel.EMPTY),
    ],
)
def test_how_much_is_told(payload: str | None, level: str | None, expected: ContentLevel) -> None:
    stated = ({} if payload is None else {"payload": payload}) | (
        {} if level is None else {"_payload": content(level)}
    )
    assert read(hook(**stated)).channel.content is expected


def test_the_topic_of_the_backport() -> None:
    stated = message() | {"criteria": TOPIC}
    assert read(stated).criteria.text == "CareTeam"
    stated["_criteria"] = {"extension": [{"url": FILTER, "valueString": "CareTeam?status=active"}]}
    assert read(stated).criteria.text == "CareTeam?status=active"
    stated["_criteria"]["extension"][0]["valueString"] = "Patient?name=x"
    assert refused(stated)[0] == 422


def test_numbers_are_lowered_to_what_is_honoured() -> None:
    extensions = [
        {"url": HEARTBEAT, "valueUnsignedInt": 1},
        {"url": MAX_COUNT, "valuePositiveInt": 100_000},
        {"url": BACKPORT + "backport-timeout", "valueUnsignedInt": 0},
    ]
    channel = read(hook(extension=extensions)).channel
    assert (channel.heartbeat, channel.max_count, channel.timeout) == (10, 100, None)


REFUSED_CHANNELS: dict[str, Resource] = {
    "Subscription.channel.type": hook(type="email"),
    "Subscription.channel.endpoint": hook(endpoint="http://region.example/hook"),
    "Subscription.channel.payload": hook(payload="application/fhir+xml"),
    "Subscription.channel.payload.extension": hook(_payload=content("everything")),
    "Subscription.channel.header[1]": hook(header=["A: b", "Host: elsewhere"]),
    "Subscription.channel.header[0]": hook(header=[f"Authorization: {HIDDEN}"]),
    "Subscription.channel.header": message(header=["A: b"]),
    "Subscription.channel.extension": hook(extension=[{"url": SECRET, "valueString": "short"}]),
    "kafka:": message(endpoint="cds.notifications"),
    "id-only | full-resource": message(_payload=content("empty")),
    "backport-max-count": hook(extension=[{"url": MAX_COUNT, "valueString": "many"}]),
}


@pytest.mark.parametrize("place", REFUSED_CHANNELS)
def test_channels_that_are_not_served(place: str) -> None:
    status, shown = refused(REFUSED_CHANNELS[place])
    assert status == 422
    assert place in shown


@pytest.mark.parametrize(
    "line",
    [
        "no colon",
        "A : b",
        "A:",
        "A: b\r\nB: c",
        "É: b",
        "A: é",
        "X-Cds-Signature: t=1",
        "a" * 101 + ": b",
        "A: " + "b" * 2000,
    ],
)
def test_header_lines_that_are_none(line: str) -> None:
    assert refused(hook(header=[line]))[0] in (400, 422)  # R4's strings have no carriage return beside others


@pytest.mark.parametrize(
    "url",
    [
        "https://region.example/hook?a=b",
        "https://10.0.0.1:8443/",
        "http://127.0.0.1:9000/h",
        "http://[::1]/",
        "http://localhost/",
    ],
)
def test_endpoints(url: str) -> None:
    assert is_endpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "region.example/hook",
        "http://10.0.0.1/",
        "http://localhost.evil.example/",
        "https://user:pass@region.example/",
        "https://region.example/#f",
        "https:///hook",
        "https://region.example:99999/",
        "https://region.example\\@evil.example/",
        "https://region.example/a b",
        "ftp://region.example/",
        "https://région.example/",
        "https://region.example/" + "a" * 2000,
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    assert not is_endpoint(url)


def test_structure_is_400_and_all_at_once() -> None:
    status, shown = refused({"resourceType": "Subscription", "channel": {}, "colour": 1})
    assert status == 400
    for place in ("status", "reason", "criteria", "channel", "colour"):
        assert f"Subscription.{place}" in shown


def test_everything_that_cannot_be_served_is_told_at_once() -> None:
    bad = hook(endpoint="http://x.example", payload="text/plain") | {
        "criteria": "CareTeam?_has:x=1",
        "status": "active",
    }
    status, shown = refused(bad)
    assert status == 422
    for place in ("channel.endpoint", "channel.payload", "Subscription.criteria", "Subscription.status"):
        assert place in shown
    assert "_has" in shown


def test_an_end_that_has_passed() -> None:
    assert refused(message() | {"end": "2025-12-31T00:00:00Z"})[0] == 422
    later = read(message() | {"end": "2026-01-02T00:00:00Z"})
    assert not later.has_ended(NOW)
    assert later.has_ended(NOW + dt.timedelta(days=1))
    assert not read(message()).has_ended(NOW)
    ended = message() | {"end": "2025-12-31T00:00:00Z", "status": "off"}
    assert read(ended).status is SubscriptionStatus.OFF


# --- writing


def registered(resource: Resource | None = None) -> Subscription:
    return read(resource or hook()).registered("s1", 1, "2026-01-01T00:00:00Z")


def test_shown_without_secrets() -> None:
    shown = to_fhir(registered().moved(SubscriptionStatus.ACTIVE))
    assert structure_faults(shown, "Subscription") == []
    assert (shown["id"], shown["status"]) == ("s1", "active")
    assert shown["meta"] == {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"}
    assert shown["channel"]["header"] == [f"Authorization: {HIDDEN}"]
    assert shown["channel"]["extension"] == [{"url": HEARTBEAT, "valueUnsignedInt": 3600}]
    assert shown["contact"] == hook()["contact"]
    assert KEY not in json.dumps(shown)
    assert "Bearer" not in json.dumps(shown)


def test_the_one_answer_that_tells_a_secret() -> None:
    mine = drawn(registered(unsigned()), "d" * 40)
    shown = to_fhir(mine)
    with_secret(shown, mine.secret or "")
    assert shown["channel"]["extension"] == [{"url": SECRET, "valueString": "d" * 40}]
    assert drawn(registered(), "d" * 40).secret == KEY  # its owner's own stays


@pytest.mark.parametrize("resource", [hook(), message(), unsigned(header=["A: b", "C: d"])])
def test_kept_and_restored(resource: Resource) -> None:
    tagged = resource | {"meta": {"tag": [{"system": "s", "code": "c"}], "versionId": "99"}, "id": "mine"}
    before = registered(tagged).moved(SubscriptionStatus.ERROR, error="no answer")
    kept = json.loads(json.dumps(to_fhir(before, secrets=True)))
    again = restored(kept, RULES)
    assert to_fhir(again, secrets=True) == to_fhir(before, secrets=True)
    assert (again.channel, again.secret, again.id, again.version) == (before.channel, before.secret, "s1", 1)
    assert (again.status, again.error, again.last_updated) == (
        before.status,
        "no answer",
        before.last_updated,
    )
    assert to_fhir(again)["meta"]["tag"] == [{"system": "s", "code": "c"}]


def test_what_was_registered_under_other_rules() -> None:
    kept = to_fhir(registered(message(endpoint="cds.replication.occ")), secrets=True)
    with pytest.raises(RefusedError):
        restored(kept, SubscriptionRules(PUBLIC, NOW, "other"))


# --- its life


def test_the_moves() -> None:
    every = list(SubscriptionStatus)
    allowed = set()
    for one in every:
        before = registered().moved(one, error="e" if one is SubscriptionStatus.ERROR else None)
        for to in every:
            try:
                before.moved(to, error="f" if to is SubscriptionStatus.ERROR else None)
            except ValueError:
                continue
            allowed.add((one.value, to.value))
    refused_moves = {(one.value, to.value) for one in every for to in every} - allowed
    assert refused_moves == {("off", "active"), ("off", "error")}
    with pytest.raises(ValueError, match="says why"):
        registered().moved(SubscriptionStatus.ERROR)
    with pytest.raises(ValueError, match="says why"):
        registered().moved(SubscriptionStatus.ACTIVE, error="none")


def test_which_are_sent_changes() -> None:
    active = registered().moved(SubscriptionStatus.ACTIVE)
    assert active.sends
    assert active.moved(SubscriptionStatus.ERROR, error="e").sends
    assert not active.moved(SubscriptionStatus.OFF).sends


def test_an_update_with_what_was_shown_changes_nothing() -> None:
    active = registered().moved(SubscriptionStatus.ACTIVE)
    shown = deepcopy(to_fhir(active))
    again = active.revised(read(shown, active))
    assert again.status is SubscriptionStatus.ACTIVE
    assert (again.channel, again.secret, again.id) == (active.channel, KEY, "s1")


def test_an_update_that_matters_is_requested_anew() -> None:
    active = registered().moved(SubscriptionStatus.ACTIVE)
    shown = to_fhir(active)["channel"]
    resecreted = shown | {"extension": [*shown["extension"], {"url": SECRET, "valueString": "n" * 32}]}
    for changes in (
        {"criteria": "CareTeam?status=inactive"},
        {"end": "2030-01-01T00:00:00Z"},
        {"channel": to_fhir(active)["channel"] | {"endpoint": "https://other.example/"}},
        {"channel": resecreted},
        {"status": "requested"},
    ):
        shown = to_fhir(active) | changes
        assert active.revised(read(shown, active)).status is SubscriptionStatus.REQUESTED, changes
    assert active.revised(read(to_fhir(active) | {"status": "off"}, active)).status is SubscriptionStatus.OFF
    assert active.revised(read(to_fhir(active) | {"reason": "r"}, active)).status is SubscriptionStatus.ACTIVE


def test_one_in_error_stays_so_until_it_is_mended() -> None:
    failed = registered().moved(SubscriptionStatus.ERROR, error="no answer")
    shown = to_fhir(failed)
    assert shown["error"] == "no answer"
    again = failed.revised(read(shown, failed))
    assert (again.status, again.error) == (SubscriptionStatus.ERROR, "no answer")
    mended = failed.revised(read(shown | {"status": "requested"}, failed))
    assert (mended.status, mended.error) == (SubscriptionStatus.REQUESTED, None)
