"""What the topics tell, set beside what the homes and the subscriber's manager hold: told at least once, applied once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from broker.core.change_event import Change, Operation, decode_headers
from broker.sync.change_log import Record
from broker.sync.dead_letters import DeadLetters
from tests.support.sync_held import Held, held_at
from tests.support.sync_servers import SUBSCRIBER, Servers
from tests.support.sync_world import SEQUENCE
from tests.support.write_world import Json

_EPOCH = 60_000
"""Milliseconds after the start of the store within which something changes: then numbering begins anew."""


@dataclass(frozen=True)
class Told:
    """The events of a topic, in their order, by circle (public id)."""

    events: Mapping[str, list[Change]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Told:
        found: dict[str, list[Change]] = defaultdict(list)
        for one in records:
            if dict(one.headers).get("ce_id") is not None:
                change, _ = decode_headers(one.headers)
                found[change.public_id].append(change)
        return cls(found)

    @property
    def count(self) -> int:
        return sum(map(len, self.events.values()))

    @property
    def again(self) -> int:
        """Events that were there before."""
        return self.count - sum(len({one.event_id for one in told}) for told in self.events.values())

    def has(self, circle: str, version: str) -> bool:
        return any(one.version == version for one in self.events.get(circle, ()))

    def overtook(self, circle: str, version: str) -> bool:
        """Whether a later version, or that it is gone, was told. Managers may give a deletion no version."""
        return any(
            int(one.version) > int(version) if one.version else one.operation is Operation.DELETED
            for one in self.events.get(circle, ())
        )

    def is_gone(self, circle: str) -> bool:
        return any(one.operation is Operation.DELETED for one in self.events.get(circle, ()))


@dataclass(frozen=True)
class Verified:
    """`changes`: of circles, at their homes. `accepted`: of them, acknowledged by the broker. `events`, `again`: in the
    subscriber's topic, and of them those that had been there before. `applied`: versions of replicas."""

    changes: int
    accepted: int
    events: int
    again: int
    applied: int

    def __str__(self) -> str:
        return (
            f"{self.changes} changes ({self.accepted} acknowledged by the broker), {self.events} events "
            f"({self.again} of them again), {self.applied} writes of replicas"
        )


async def verified(site: Servers, accepted: Iterable[tuple[str, str]], *, lost: bool = False) -> Verified:
    """Everything was told of, and applied once. `accepted`: public id and version of what the broker acknowledged.

    `lost`: the store was killed, and may have lost what it had acknowledged: then what changed meanwhile is told of by its
    last version only, as what is changed at a manager itself always is.
    """
    told, noted = Told.of(await site.records(site.topic)), Told.of(await site.records(site.notifications))
    accepted = set(accepted)
    changes = [one async for one in _changes(site)]
    gone = {circle for circle, _, last, content in changes if last and content is None}
    missing = []
    for circle, version in accepted:
        skipped = (
            told.overtook(circle, version) or circle not in told.events
        )  # it was gone, or lost, when it was looked up
        if not told.has(circle, version) and not (
            skipped and (lost or circle in gone or told.is_gone(circle))
        ):
            missing.append(f"{circle} version {version} is not in {site.topic}")
        if not lost and not noted.has(circle, version):
            missing.append(f"{circle} version {version} is not in {site.notifications}")
    missing += _gaps(noted, site.restarts)
    assert not missing, "; ".join(missing[:20])
    letters = await DeadLetters(site.log, SUBSCRIBER, site.prefix).all()
    assert letters == [], [(one.reason, one.detail, one.circle) for one in letters]
    applied = _applied_once(await held_at(site, SUBSCRIBER))
    return Verified(len(changes), len(accepted), told.count, told.again, applied)


def _named(content: Json | None) -> str:
    return "a deletion" if content is None else str(content["name"])


def _is_told(told: Told, circle: str, number: int, content: Json | None, *, last: bool) -> bool:
    """A version at a home: by its own event, or where it is not what the home has now, by a later one."""
    if not last and told.overtook(circle, str(number)):
        return True
    if content is not None:
        return told.has(circle, str(number))
    return told.is_gone(circle) or circle not in told.events  # the subscriber never had it


def _gaps(told: Told, restarts: Sequence[int]) -> Iterator[str]:
    """Numbers that are lacking, or came for the first time after a greater one; but for those with which numbering began
    anew when the store was started again."""
    for circle, changes in told.events.items():
        first = list(dict.fromkeys(one.sequence for one in changes))
        steps = [number for before, number in pairwise(first) if number != before + 1]
        if [
            one for one in steps if not any(0 <= one - began < _EPOCH for began in restarts)
        ] or first != sorted(first):
            yield f"the changes of {circle} are numbered {first}"
        if len({(one.sequence, one.event_id) for one in changes}) != len(first):
            yield f"a number of {circle} is that of two changes"


def _applied_once(there: Held) -> int:
    """How often replicas were written: each time from a later change than the last."""
    count, twice = 0, []
    for name, versions in there.versions.items():
        if not name.startswith("CareTeam/"):
            continue
        numbers = [_number(one) for one in versions if one is not None]
        count += len(numbers)
        if numbers != sorted(set(numbers)):
            twice.append(f"{name} was written from {numbers}")
    assert not twice, "; ".join(twice[:20])
    return count


def _number(replica: Json) -> int:
    return next(int(tag["code"]) for tag in replica["meta"]["tag"] if tag["system"] == SEQUENCE)


async def untold(site: Servers) -> list[str]:
    """Versions at the homes of which the subscriber's topic does not tell, nor of a later one."""
    told = Told.of(await site.records(site.topic))
    return [
        f"{circle} version {number} of its home was never told ({_named(content)}); told were "
        + ", ".join(f"{one.sequence}: {one.operation} {one.version}" for one in told.events.get(circle, ()))
        async for circle, number, last, content in _changes(site)
        if not _is_told(told, circle, number, content, last=last)
    ]


async def _changes(site: Servers) -> AsyncIterator[tuple[str, int, bool, Json | None]]:
    """Every version of every circle at its home: public id, number, whether it is the last, content."""
    for slug in site.homes:
        for name, versions in (await held_at(site, slug)).versions.items():
            if name.startswith("CareTeam/"):
                circle = f"{slug}.{name.partition('/')[2]}"
                for number, one in enumerate(versions, start=1):
                    yield circle, number, number == len(versions), one
