"""Persons with two homes, as they come and go: what each look at the index makes of what was known (federation, 6). Pure.

A conflict is known by an id for as long as it lasts, whichever circles come to it or leave it: a digest of the ids of the
circles that it was first seen with, and of nothing of the person. Each set of circles that it has had, and its end, has a
number, which grows; the event of the last number is what there is to tell.

The index says what it holds. That a circle is not in conflict any more is believed only where the index holds all of its
manager: while a manager is crawled anew, what is not found stays as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Final

import msgspec
from msgspec.structs import replace

from broker.core.dedup import conflicts as groups_of
from broker.core.identity import public_id

Circle = tuple[str, str]
"""A manager's slug, and its own id of a circle."""

MOST_CIRCLES: Final = 100
"""Kept of one conflict. One with more is no two homes of a person, but an identifier that is given to everybody."""


class Conflict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The circles of one person that has several homes, in order: `count` of them, of which `circles` are the first.

    `since`, `resolved`: seconds since 1970, when it was first seen, and when no more. `sequence`: grows with every change of
    it. `told`: the one whose event is in the change log for sure.
    """

    id: str
    circles: tuple[Circle, ...]
    count: int
    since: float
    sequence: int
    told: int = 0
    resolved: float | None = None

    @property
    def is_open(self) -> bool:
        return self.resolved is None

    @property
    def is_told(self) -> bool:
        return self.told >= self.sequence

    def references(self, aliases: dict[str, str] | None = None) -> list[str]:
        """`CareTeam/bre.12` of each circle; see `identity.public_id` for `aliases`."""
        return [f"CareTeam/{public_id(slug, local_id, aliases)}" for slug, local_id in self.circles]


def reconciled(
    known: Iterable[Conflict],
    found: Iterable[Iterable[Circle]],
    now: float,
    is_whole: Callable[[str], bool],
) -> list[Conflict]:
    """The conflicts that are new, or other than they were, or over; nothing where nothing happened.

    `known`: as they were left, resolved ones too. `found`: the homes of each person that has several; one circle may be in
    several lists, since a person has several identifiers. `is_whole`: of a manager's slug, whether what is not found at that
    manager is not there.
    """
    before = {one.id: one for one in known}
    groups = _grouped(found)
    seen = frozenset[Circle]().union(*groups)
    matched = _matched([one for one in before.values() if one.is_open], groups)
    changed: list[Conflict] = []
    for one in before.values():
        if not one.is_open:
            continue
        left = [circle for circle in one.circles if circle not in seen and not is_whole(circle[0])]
        if one.id in matched:
            changed += _changed(one, groups[matched[one.id]].union(left), now)
        elif not left:
            changed.append(replace(one, sequence=_next(one, now), resolved=now))
    taken = {one.id for one in before.values() if one.is_open}
    for place in sorted(set(range(len(groups))) - set(matched.values())):
        made = _begun(groups[place], taken, before, now)
        taken.add(made.id)
        changed.append(made)
    return changed


def _grouped(found: Iterable[Iterable[Circle]]) -> list[frozenset[Circle]]:
    """Lists that have a circle in common are of one person."""
    named = {f"{slug}/{local_id}": (slug, local_id) for homes in found for slug, local_id in homes}
    listed = [
        (name, (str(number), name))
        for number, homes in enumerate(found)
        for name in (f"{slug}/{local_id}" for slug, local_id in homes)
    ]
    return [frozenset(named[name] for name in group) for group in groups_of(listed)]


def _matched(open_: Sequence[Conflict], groups: Sequence[frozenset[Circle]]) -> dict[str, int]:
    """Which group each conflict goes on as: that with most of its circles; of two conflicts the older one."""
    holder = {circle: place for place, group in enumerate(groups) for circle in group}
    common: dict[tuple[str, int], int] = {}
    for one in open_:
        for circle in one.circles:
            if circle in holder:
                pair = one.id, holder[circle]
                common[pair] = common.get(pair, 0) + 1
    since = {one.id: one.since for one in open_}
    matched: dict[str, int] = {}
    taken: set[int] = set()
    for identity, place in sorted(common, key=lambda pair: (-common[pair], since[pair[0]], pair)):
        if identity not in matched and place not in taken:
            matched[identity] = place
            taken.add(place)
    return matched


def _changed(one: Conflict, circles: frozenset[Circle], now: float) -> list[Conflict]:
    first = _first(circles)
    if (first, len(circles)) == (one.circles, one.count):
        return []
    return [replace(one, circles=first, count=len(circles), sequence=_next(one, now))]


def _begun(
    circles: frozenset[Circle], taken: set[str], before: Mapping[str, Conflict], now: float
) -> Conflict:
    first = _first(circles)
    identity = next(one for one in (_digest(first, salt) for salt in count()) if one not in taken)
    earlier = before.get(identity)  # it was there before, and is again
    sequence = _milliseconds(now) if earlier is None else _next(earlier, now)
    return Conflict(identity, first, len(circles), now, sequence)


def _first(circles: frozenset[Circle]) -> tuple[Circle, ...]:
    return tuple(sorted(circles)[:MOST_CIRCLES])


def _digest(circles: Sequence[Circle], salt: int) -> str:
    text = "\n".join([f"{slug}/{local_id}" for slug, local_id in circles] + [str(salt)] * bool(salt))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _next(one: Conflict, now: float) -> int:
    return max(one.sequence + 1, _milliseconds(now))


def _milliseconds(now: float) -> int:
    """Where the store is lost, numbers go on growing all the same."""
    return int(now * 1000)
