"""The present state for a newcomer: under which number a circle is sent, and what may happen while it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapters.clock import SystemClock
from broker.core.audit.disclosure import Disclosure
from broker.core.change_event import Change, Operation
from broker.core.entry import Entry
from broker.core.event_content import read_event
from broker.core.subscription import Channel, ChannelKind, ContentLevel, Subscription, SubscriptionStatus
from broker.core.subscription_criteria import parse_criteria
from broker.errors import BrokerError, FailureKind, ManagerError
from broker.ports import Clock, Disclosures
from broker.sync.bootstrap import Bootstrap
from broker.sync.bootstrap_options import BootstrapOptions
from broker.sync.change_log import ChangeLog
from broker.sync.disclosures import UNTRACED
from broker.sync.event_records import Content, EventRecords
from broker.sync.homes import Absence, StaleError
from broker.sync.instants import epoch
from broker.sync.reader import ManagerReader, Page, UnsortedError
from registry.bootstrap_model import BootstrapProgress, BootstrapState
from tests.support.fake_clock import FakeClock
from tests.support.fake_outbox import FakeOutbox
from tests.support.fake_stores import ManualClock
from tests.support.fake_subscriptions import FakeSentCircles
from tests.support.publishing import PUBLIC, TO_OCC, FakeHomes, FakeLog, change, circle, down

COPY = ("urn:cds-broker:copy", "replica")


@dataclass
class Reader:
    """A manager's lists. `cut`: pages after which it does not answer, once."""

    pages: list[list[Entry]]
    sorts: bool = True
    lies: bool = False
    gives_total: int | None = None
    cut: int | None = None
    starts: list[str | None] = field(default_factory=list)
    unsorted: set[str] = field(default_factory=set)
    origin: Any = field(default_factory=lambda: SimpleNamespace(slug="bre"))

    @property
    def calls(self) -> Any:
        return SimpleNamespace(failure=down)

    def orders(self, kind: str) -> bool:
        return self.sorts and kind not in self.unsorted

    async def total(self, kind: str) -> int | None:
        return self.gives_total

    async def ascending(self, kind: str, start: str | None) -> AsyncGenerator[Page]:
        self.starts.append(start)
        if self.lies:
            raise UnsortedError(kind)
        for number, page in enumerate(self.pages):
            if number == self.cut:
                self.cut = None
                raise down()
            since = epoch(start) or 0.0
            if found := [one for one in page if (epoch(one.last_updated) or 0.0) >= since]:
                yield Page(cast("Any", None), found, (), {})

    async def listed(self, kind: str) -> AsyncGenerator[Page]:
        for page in self.pages:
            yield Page(cast("Any", None), page, (), {})


@dataclass
class Homes(FakeHomes):
    """`while_reading`: done at each look, before it is answered."""

    while_reading: list[Callable[[], None]] = field(default_factory=list)

    async def fetch(self, change: Change) -> Content | Absence:
        found = await super().fetch(change)
        if self.while_reading:
            self.while_reading.pop(0)()
        return found


@dataclass
class Sent(FakeSentCircles):
    """`while_remembering`: done before it is written down."""

    while_remembering: list[Callable[[], None]] = field(default_factory=list)

    async def remember(self, circle: str, subscriptions: frozenset[str]) -> None:
        if self.while_remembering:
            self.while_remembering.pop(0)()
        await super().remember(circle, subscriptions)


@dataclass
class Newcomer:
    reader: Reader
    outbox: FakeOutbox = field(default_factory=lambda: FakeOutbox(ManualClock()))
    homes: Homes = field(default_factory=Homes)
    sent: Sent = field(default_factory=Sent)
    log: FakeLog = field(default_factory=FakeLog)
    kept: list[BootstrapProgress] = field(default_factory=list)
    criteria: str = "CareTeam"
    disclosures: Disclosures = UNTRACED
    clock: Clock = field(default_factory=SystemClock)

    async def run(self, progress: BootstrapProgress | None = None) -> BootstrapProgress:
        async def save(made: BootstrapProgress) -> None:
            self.kept.append(made)

        channel = Channel(ChannelKind.MESSAGE, "kafka:occ", ContentLevel.FULL, "occ")
        subscription = Subscription(
            SubscriptionStatus.ACTIVE, parse_criteria(self.criteria, PUBLIC), channel, {}, id="s1"
        )
        made = Bootstrap(
            subscription,
            cast("ManagerReader", self.reader),
            self.homes,
            self.outbox,
            self.sent,
            cast("ChangeLog", self.log),
            EventRecords(PUBLIC),
            self.clock,
            BootstrapOptions(overlap=0.0),
            save,
            progress or BootstrapProgress("m"),
            self.disclosures,
        )
        await made.run()
        return made.progress

    def told(self) -> list[tuple[str, int]]:
        return self.log.told(TO_OCC)

    def enqueue(self, *changes: Any) -> None:
        self.outbox.put(changes)

    async def number(self, name: str = "1") -> int:
        return (await self.outbox.numbers("bre", [name]))[0].number


def dated(number: int, *tags: tuple[str, str]) -> Entry:
    made = circle(number, "bre", "1", *tags)
    return Entry(
        made.mode, made.type, made.local_id, made.public_id, "1", f"2026-01-01T00:00:{number:02d}Z", None, tags,
        made.raw,
    )  # fmt: skip


def pages(*numbers: Sequence[int]) -> Reader:
    return Reader([[dated(one) for one in page] for page in numbers])


async def test_a_circle_that_never_changed_is_below_its_first_change() -> None:
    newcomer = Newcomer(pages([1]))
    progress = await newcomer.run()
    ((event, number),) = newcomer.told()
    assert event == "bre/CareTeam/1/1"
    newcomer.enqueue(change(1, "2"))
    assert await newcomer.number() > number
    assert (progress.state, progress.read, progress.sent) == (BootstrapState.DONE, 1, 1)
    assert await newcomer.sent.sent("bre.1") == {"s1"}


async def test_a_circle_that_changed_bears_the_number_of_its_last_change() -> None:
    newcomer = Newcomer(pages([1]), homes=Homes(versions={("bre", "1"): "3"}))
    newcomer.enqueue(change(1, "2"), change(1, "3"))
    await newcomer.run()
    assert newcomer.told() == [("bre/CareTeam/1/3", await newcomer.number())]


@pytest.mark.parametrize("known", ["3", "a-version-that-is-no-number"])
async def test_what_may_not_hold_the_last_change_is_below_it(known: str) -> None:
    """The home still shows an older version: the event of the change itself must be news to whoever has this one."""
    newcomer = Newcomer(pages([1]), homes=Homes(versions={("bre", "1"): "2"}))
    newcomer.enqueue(change(1, "1"), change(1, known))
    await newcomer.run()
    ((_, number),) = newcomer.told()
    assert number == await newcomer.number() - 1


async def test_a_change_while_it_is_read_is_looked_at_again() -> None:
    newcomer = Newcomer(pages([1]))
    newcomer.enqueue(change(1, "1"))
    before = await newcomer.number()

    def changes() -> None:
        newcomer.enqueue(change(1, "2"))
        newcomer.homes.versions["bre", "1"] = "2"

    newcomer.homes.while_reading.append(changes)
    await newcomer.run()
    assert newcomer.told() == [("bre/CareTeam/1/2", before + 1)]


async def test_a_deletion_that_was_told_before_the_newcomer_was_known_is_seen() -> None:
    """Else its topic would end with the circle, and nobody would ever tell it otherwise."""
    newcomer = Newcomer(pages([1]))
    newcomer.enqueue(change(1, "1"))

    def deleted() -> None:
        newcomer.enqueue(change(1, None, operation=Operation.DELETED))
        newcomer.homes.faults["bre", "1"] = Absence.GONE

    newcomer.sent.while_remembering.append(deleted)
    progress = await newcomer.run()
    assert newcomer.told() == []
    assert progress.sent == 0


async def test_a_circle_that_goes_on_changing_is_left_to_the_publisher() -> None:
    newcomer = Newcomer(pages([1], [2]))
    newcomer.enqueue(change(1, "1"))
    for version in range(2, 30):
        newcomer.homes.while_reading.append(lambda version=version: newcomer.enqueue(change(1, str(version))))
    await newcomer.run()
    assert [event for event, _ in newcomer.told()] in (["bre/CareTeam/2/1"], [])
    assert await newcomer.sent.sent("bre.1") == {"s1"}  # so that it is told of what comes


async def test_replicas_and_what_is_not_selected_are_not_sent() -> None:
    reader = Reader([[dated(1, COPY), dated(2), dated(3)]])
    newcomer = Newcomer(reader, criteria="CareTeam?_id=bre.3")
    progress = await newcomer.run()
    assert [event for event, _ in newcomer.told()] == ["bre/CareTeam/3/1"]
    assert newcomer.homes.asked == [("bre", "3")]  # the others were not even read
    assert (progress.read, progress.sent) == (3, 1)


@pytest.mark.parametrize("fault", [Absence.REPLICA, Absence.MISSING, Absence.GONE, Absence.LEFT])
async def test_what_is_not_there_is_not_sent(fault: Absence) -> None:
    newcomer = Newcomer(pages([1, 2]), homes=Homes(faults={("bre", "1"): fault}))
    await newcomer.run()
    assert [event for event, _ in newcomer.told()] == ["bre/CareTeam/2/1"]


async def test_an_older_version_than_was_shown_is_sent_as_it_is() -> None:
    stale = StaleError(Content(circle(1)))
    newcomer = Newcomer(pages([1]), homes=Homes(faults={("bre", "1"): stale}))
    await newcomer.run()
    assert len(newcomer.told()) == 1


async def test_a_circle_that_its_manager_fails_at_is_counted_and_the_others_go_on() -> None:
    newcomer = Newcomer(pages([1, 2]), homes=Homes(faults={("bre", "1"): down(FailureKind.ERROR)}))
    progress = await newcomer.run()
    assert [event for event, _ in newcomer.told()] == ["bre/CareTeam/2/1"]
    assert (progress.failed, progress.sent, progress.state) == (1, 1, BootstrapState.DONE)


async def test_a_manager_that_is_down_ends_it_for_now() -> None:
    newcomer = Newcomer(pages([1, 2]), homes=Homes(faults={"bre": down()}))
    with pytest.raises((ExceptionGroup, BrokerError)):
        await newcomer.run()
    assert newcomer.told() == []
    assert newcomer.kept[-1].state is BootstrapState.RUNNING


async def test_it_goes_on_from_the_last_page_that_was_sent() -> None:
    reader = pages([1, 2], [3, 4], [5])
    reader.cut = 2
    newcomer = Newcomer(reader)
    with pytest.raises(ManagerError):
        await newcomer.run()
    place = newcomer.kept[-1].place
    assert place == "2026-01-01T00:00:04Z"
    progress = await newcomer.run(newcomer.kept[-1])
    assert reader.starts == [None, place, "2026-01-01T00:00:05.000Z"]  # the last part once more at the end
    assert {event for event, _ in newcomer.told()} == {f"bre/CareTeam/{one}/1" for one in range(1, 6)}
    assert progress.state is BootstrapState.DONE


async def test_a_manager_that_does_not_sort_is_listed() -> None:
    reader = pages([1, 2], [3])
    reader.lies, reader.gives_total = True, 3
    newcomer = Newcomer(reader)
    progress = await newcomer.run()
    assert len(newcomer.told()) == 3
    assert (progress.place, progress.read) == (None, 3)


async def test_a_list_from_which_circles_are_missing_is_not_the_end() -> None:
    reader = pages([1, 2])
    reader.sorts, reader.gives_total = False, 3
    with pytest.raises(ManagerError):
        await Newcomer(reader).run()


async def test_the_events_are_whole() -> None:
    newcomer = Newcomer(pages([1]))
    await newcomer.run()
    (record,) = newcomer.log.records
    event = read_event(record.key, record.value, record.headers)
    assert event.circle is not None
    assert event.change.operation is Operation.UPDATED


async def test_what_cannot_be_traced_waits() -> None:
    taken = iter([False, False, True])
    handed: list[str] = []
    clock = FakeClock()
    newcomer = Newcomer(Reader([[dated(1), dated(2)]], sorts=False), clock=clock)

    class Trail:
        async def told(self, disclosures: Sequence[Disclosure]) -> bool:
            assert newcomer.told() == []
            handed.extend(one.change.public_id for one in disclosures)
            return next(taken)

    newcomer.disclosures = Trail()
    running = asyncio.ensure_future(newcomer.run())
    for _ in range(6):
        await clock.advance(3)
    await asyncio.wait_for(running, 5)
    assert handed == ["bre.1", "bre.2"] * 3
    assert len(newcomer.told()) == 2
