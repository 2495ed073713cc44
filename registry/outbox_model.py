"""What waits to be published: changes of circles by their ids, in the order in which the broker came to know them. Pure.

A change is known by (manager, id, version). Nothing here is about a person.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from broker.core.change_event import Operation

_OPAQUE = 1 << 47

Circle = tuple[str, str]
"""A manager's slug, and its own id of a circle."""


@dataclass(frozen=True, slots=True)
class CircleChange:
    """A circle's new version at its home, as the write that made it or the manager's feed tells.

    `version` and `at` (`meta.lastUpdated`) are the manager's own, as it wrote them; None where it gives none. `trace`: the
    `traceparent` of what changed it, where that is known.
    """

    manager: str
    circle_id: str
    version: str | None
    at: str | None
    operation: Operation
    trace: str | None = field(default=None, compare=False)

    @property
    def circle(self) -> Circle:
        return self.manager, self.circle_id


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change in the outbox.

    `sequence`: grows with each change of the circle, by one; a larger step says that numbering began anew in between
    (`Outbox`). `place`: where in the outbox. `age`: seconds, at the instant of the peek, since it was put there.
    """

    change: CircleChange
    sequence: int
    place: str
    age: float


@dataclass(frozen=True, slots=True)
class Numbered:
    """The number of a circle's last change; where nothing is known of it, one below that of any change to come.

    `version`: the one that was told last, as `version_number` has it.
    """

    number: int
    known: bool
    version: int = 0

    def of(self, shown: str | None) -> int:
        """For a circle as it is shown, in a version: the one before where it is not sure to hold the last change."""
        at = version_number(shown)
        later = self.version < at < _OPAQUE if 0 < self.version < _OPAQUE else at == self.version
        holds = at > 0 and (later or at == self.version)
        return self.number if holds or not self.known else self.number - 1

    def is_still(self, later: Numbered) -> bool:
        """Whether nothing has changed until `later`."""
        return later.known is self.known and (later.number == self.number or not self.known)


@dataclass(frozen=True, slots=True)
class OutboxState:
    """`depth`: changes that wait. `age`: seconds that the oldest has waited. `added`: since the outbox was made.

    `leader`: the node that publishes, None where none does.
    """

    depth: int
    age: float | None
    added: int
    leader: str | None


def version_number(version: str | None) -> int:
    """One more than the number that it is; from 2^47 on, a digest of one that is none; 0 for no version."""
    if not version:
        return 0
    if version.isascii() and version.isdecimal() and len(version) < 15 and str(int(version)) == version:
        return int(version) + 1
    return _OPAQUE | int.from_bytes(hashlib.blake2b(version.encode(), digest_size=6).digest()) >> 1
