"""What a sighting or a deletion changes in the index. Pure: given what is there, says what to write, in which order.

Truth lives in the entries (one for each circle of each manager); links are made so that a person leads to them. The two
are in different buckets, on different nodes maybe, so nothing writes both at once. The rule that holds at every
instant, whoever crashes and whoever else writes, is: **what an entry lists has its link**. Therefore:

1. the new links are added, then
2. the entry is exchanged, if it still is what was read, else everything is decided anew; then
3. links that the entry lists no more are removed. The entry names them as `leaving` until that is done, so that
   whoever comes next after a crash does it.

Two writers could still undo one another: one, slow, removes a link in step 3 that another has meanwhile added again in
step 1. So a link bears the stamp of the entry that asked for it, a number that grows with each change of the entry, and
a removal names the stamp of a state that did not list it: links of later states stay. Stamps wrap at 256 and compare on
a half circle; links are renewed often enough never to fall half a circle behind.

An instant without a date (`updated` 0) has no order. Where one of two states has a date and the other none, the entry
lists the links of both: too many is right, too few never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from registry.locator_records import NO_LINKS, Entry, Links

TOMBSTONE_SECONDS = 7 * 86_400
"""How long a deletion is remembered, so that an older sighting that comes late does not undo it."""

RENEWAL = 64
"""Every so many stamps an entry's links take its stamp, though they did not change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`add` with the stamp of `new`; exchange the entry for `new` (None: stays); `remove` up to the stamp `upto`.

    `review`: the persons for whom the homes may be others than before.
    """

    new: Entry | None = None
    add: Links = NO_LINKS
    remove: Links = NO_LINKS
    upto: int = 0
    review: frozenset[bytes] = frozenset()


NOTHING = Plan()


def learn(current: Entry | None, seen: Entry) -> Plan:
    """`seen`: as a manager showed it, stamp 0."""
    if current is None:
        return Plan(new=seen, add=seen.links, review=frozenset() if seen.replica else seen.links.persons)
    if _outdated(current, seen):
        # A crashed writer may have added these before it lost: nothing lists them.
        return Plan(remove=(seen.links - current.links) | current.leaving, upto=current.stamp)
    wanted = seen
    if not current.deleted and bool(current.updated) != bool(seen.updated):
        wanted = replace(seen if seen.updated else current, links=current.links | seen.links)
    return _exchange(current, wanted)


def forget(current: Entry | None, gone: Entry) -> Plan:
    """`gone`: `updated` is the instant of the deletion by the manager's clock, `written` ours; no links."""
    if current is None:
        return Plan(new=gone) if gone.updated else NOTHING
    if gone.updated and gone.updated < current.updated:
        return Plan(remove=current.leaving, upto=current.stamp)
    return _exchange(current, replace(gone, updated=max(gone.updated, current.updated)))


def settled(entry: Entry) -> Entry:
    """The entry once its leaving links are gone."""
    return replace(entry, leaving=NO_LINKS)


def conflicting(homes: Iterable[Entry]) -> bool:
    """Two homes of one person are a conflict, unless a business identifier says that they are one circle."""
    kept = [entry for entry in homes if not entry.replica and not entry.deleted]
    return any(
        not one.links.circles & other.links.circles
        for number, one in enumerate(kept)
        for other in kept[number + 1 :]
    )


def _outdated(current: Entry, seen: Entry) -> bool:
    if not current.updated or not seen.updated:
        return False
    return seen.updated < current.updated or (current.deleted and seen.updated == current.updated)


def _exchange(current: Entry, wanted: Entry) -> Plan:
    leaving = (current.links | current.leaving) - wanted.links
    new = replace(wanted, stamp=current.stamp, leaving=leaving)
    if new == current:
        return Plan(remove=leaving, upto=current.stamp)
    new = replace(new, stamp=(current.stamp + 1) % 256)
    return Plan(
        new=new,
        add=new.links if new.stamp % RENEWAL == 0 else new.links - current.links,
        remove=leaving,
        upto=new.stamp,
        review=_told(current, new),
    )


def _told(current: Entry, new: Entry) -> frozenset[bytes]:
    """The persons of a circle that became, was or stays a home, where what makes a conflict changed."""
    was, is_now = (not (entry.replica or entry.deleted) for entry in (current, new))
    if (was, current.links) == (is_now, new.links) or not (was or is_now):
        return frozenset()
    return (current.links | new.links).persons
