"""Each circle once: replicas, unmarked copies, and persons with two circles (federation, section 3).

A **replica** says so in `meta.tag` and names its home's circle in `meta.source`; it yields to its home whenever the home
was asked and answered, since then the home has said what there is. A **copy** without a mark shares its business
identifier with a circle already shown, and yields to that one. Two circles of one person with different identifiers are
a **conflict**: both are shown, and named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

REPLICA_SYSTEM = "urn:cds-broker:copy"
REPLICA_CODE = "replica"
"""The `meta.tag` by which a replica says that it is one."""


class Copyable(Protocol):
    """What de-duplication must know of a match."""

    @property
    def public_id(self) -> str: ...
    @property
    def identifiers(self) -> Sequence[tuple[str | None, str]]: ...
    @property
    def tags(self) -> Sequence[tuple[str | None, str]]: ...
    @property
    def source(self) -> str | None: ...


def is_replica(entry: Copyable) -> bool:
    return (REPLICA_SYSTEM, REPLICA_CODE) in entry.tags


def home_of(source: str | None, public_base: str, bases: Mapping[str, str]) -> str | None:
    """The slug of the manager that a replica's `meta.source` names, by public id or by a registered base address."""
    if source is None:
        return None
    own = public_base + "/CareTeam/"
    if source.startswith(own):
        return source[len(own) :].partition(".")[0]
    for base, slug in bases.items():
        if source == base or source.startswith(base + "/"):
            return slug
    return None


def circle_keys(entry: Copyable) -> list[str]:
    """Short digests of the business identifiers by which copies are recognised; none without a system."""
    return [_digest(f"{system}|{value}") for system, value in entry.identifiers if system and value]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


@dataclass(frozen=True, slots=True)
class CopyRule:
    """Which circles are copies, before it is known who answered.

    `bases` maps registered base addresses to slugs. `shown` maps a circle key to the public id under which an earlier
    page showed it. `silent`: managers that need not be asked, known to hold no match: as good as answered.
    """

    public_base: str
    bases: Mapping[str, str]
    shown: Mapping[str, str]
    silent: frozenset[str] = frozenset()

    def among(self, answering: frozenset[str]) -> Copies:
        return Copies(self, answering | self.silent)


@dataclass(frozen=True, slots=True)
class Copies:
    """The rule, once it is known which managers answered."""

    rule: CopyRule
    answering: frozenset[str]

    def yields(self, entry: Copyable) -> bool:
        """A replica whose home has spoken for itself."""
        if not is_replica(entry):
            return False
        home = home_of(entry.source, self.rule.public_base, self.rule.bases)
        return home in self.answering and home != _slug(entry.public_id)

    def choose(self, entries: Iterable[Copyable]) -> list[bool]:
        """For each entry in order: shown or not. Another manager's copy of what is already shown is not."""
        listed = list(entries)
        if len(listed) == 1 and not self.rule.shown:  # nothing that it could be a copy of
            return [not self.yields(listed[0])]
        shown = dict(self.rule.shown)
        verdicts = []
        for entry in listed:
            keep = not self.yields(entry)
            if keep:
                keys = circle_keys(entry)
                keep = all(_slug(shown.get(key, entry.public_id)) == _slug(entry.public_id) for key in keys)
                if keep:
                    shown.update(dict.fromkeys(keys, entry.public_id))
            verdicts.append(keep)
        return verdicts


def _slug(public_id: str) -> str:
    return public_id.partition(".")[0]


def conflicts(persons: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[str, ...]]:
    """Groups of two or more circles of one person.

    `persons` gives for each shown circle its public id and its person's keys (identifiers, the subject's reference);
    circles that share a key are of one person, and so are those linked through a third.
    """
    listed = list(persons)
    leader = list(range(len(listed)))  # of each circle one of the same person, itself at first
    holder: dict[str, int] = {}
    for place, (_, keys) in enumerate(listed):
        for key in keys:
            leader[_followed(leader, place)] = _followed(leader, holder.setdefault(key, place))
    groups: dict[int, set[str]] = {}
    for place, (circle, _) in enumerate(listed):
        groups.setdefault(_followed(leader, place), set()).add(circle)
    return sorted(tuple(sorted(members)) for members in groups.values() if len(members) > 1)


def _followed(leader: list[int], place: int) -> int:
    """The circle at the end of a chain of leaders, which is halved on the way."""
    while leader[place] != place:
        leader[place] = leader[leader[place]]
        place = leader[place]
    return place
