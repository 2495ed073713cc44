"""What cannot be traced is not sent: it waits, and goes when it can be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from broker.audit.disclosures import TrailDisclosures
from broker.audit.trail import Trail, TrailOptions
from broker.core.audit.chain import Chain
from broker.core.audit.disclosure import Disclosure, recipient
from broker.core.audit.event import EventWriter
from broker.core.subscription import Channel, ChannelKind, ContentLevel, Subscription, SubscriptionStatus
from broker.core.subscription_criteria import parse_criteria
from broker.core.subscription_notification import NotifiedEvent
from broker.sync.disclosures import of_circle, of_events
from broker.sync.homes_queue import pause
from broker.sync.routing import Destinations
from tests.support.audit_sinks import KEY, STREAM, FakeSink
from tests.support.fake_clock import FakeClock, settle
from tests.support.publishing import NOTIFICATIONS, TO_OCC, FakeRouting, Press, change
from tests.support.subscription_world import a_change, a_circle, a_patient
from tests.support.waiting import until

BASE = "https://broker.example/fhir"


def subscription(
    endpoint: str = "kafka:occ",
    kind: ChannelKind = ChannelKind.MESSAGE,
    content: ContentLevel = ContentLevel.FULL,
) -> Subscription:
    channel = Channel(kind, endpoint, content, "occ" if kind is ChannelKind.MESSAGE else None)
    return Subscription(SubscriptionStatus.ACTIVE, parse_criteria("CareTeam", BASE), channel, {}, id="s1")


@dataclass
class Gate:
    """A trail that takes nothing until it is opened."""

    open: bool = False
    asked: list[Sequence[Disclosure]] = field(default_factory=list)

    async def told(self, disclosures: Sequence[Disclosure]) -> bool:
        self.asked.append(disclosures)
        return self.open


async def test_a_topic_is_sent_what_is_traced_and_the_change_waits() -> None:
    gate = Gate()
    whole = Destinations({"occ": ContentLevel.FULL}, whole=(subscription(),))
    press = Press(routing=FakeRouting(destinations=whole))
    await press.outbox.enqueue(change(12, "3"))
    async with press.running(press.publisher(disclosures=gate)):
        await until(lambda: len(gate.asked) >= 2)
        assert press.log.told(TO_OCC) == []
        assert (await press.outbox.state()).depth == 1, "it is kept"
        gate.open = True
        await press.empty()
    assert len(press.log.told(TO_OCC)) == 1
    assert {one.change.event_id for asked in gate.asked for one in asked} == {"bre/CareTeam/12/3"}


async def test_what_is_told_by_ids_needs_no_trace() -> None:
    gate = Gate(open=True)
    press = Press(routing=FakeRouting(destinations=Destinations({"occ": ContentLevel.ID_ONLY})))
    await press.outbox.enqueue(change(12, "3"))
    async with press.running(press.publisher(disclosures=gate)):
        await press.empty()
    assert [[*asked] for asked in gate.asked] == [[]]
    assert len(press.log.told(NOTIFICATIONS)) == 1


def test_only_content_is_a_disclosure() -> None:
    told, there = a_change(12), a_circle(12)
    assert of_circle(told, None, [], [subscription()]) == []
    assert of_circle(told, there, [], []) == []
    events = [NotifiedEvent(1, told, there, (a_patient(12),)), NotifiedEvent(2, told)]
    assert len(of_events(subscription(), events)) == 1
    assert of_events(subscription(content=ContentLevel.ID_ONLY), events) == []


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://user:pass@hook.example:8443/secret?key=1", "https://hook.example:8443"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9"),
    ],
)
def test_an_endpoint_is_named_without_what_may_be_secret(endpoint: str, shown: str) -> None:
    assert recipient(subscription(endpoint, ChannelKind.REST_HOOK).channel) == shown


@pytest.mark.parametrize("deny", [True, False])
async def test_a_failing_sink_makes_it_wait_and_is_not_filled(deny: bool) -> None:
    clock, sink = FakeClock(), FakeSink()
    trail = Trail(EventWriter(BASE, STREAM), Chain(STREAM, KEY), [sink], clock, TrailOptions(deny=deny))
    disclosures = TrailDisclosures(trail, clock, deny)
    handed = of_circle(a_change(12), a_circle(12), [a_patient(12)], [subscription()])
    trail.start()
    try:
        assert await disclosures.told([])
        assert await disclosures.told(handed)
        assert len(sink.lines) == 1
        sink.failing = True
        assert await disclosures.told(handed) is not deny, (
            "where it was so chosen, it goes on without a trace"
        )
        for _ in range(3):
            assert await disclosures.told(handed) is not deny
        assert trail.state.waiting <= (1 if deny else 4), "what waits for a trace is not told again and again"
        sink.failing = False
        await clock.advance(pause(10))
        await settle()
        assert await disclosures.told(handed)
    finally:
        sink.failing = False
        await asyncio.wait_for(trail.aclose(1.0), 5)
