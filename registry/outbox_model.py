"""What waits to be published: changes of circles by their ids, in the order in which the broker came to know them. Pure.

A change is known by (manager, id, version). Nothing here is about a person.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.change_event import Operation

Circle = tuple[str, str]
"""A manager's slug, and its own id of a circle."""


@dataclass(frozen=True, slots=True)
class CircleChange:
    """A circle's new version at its home, as the write that made it or the manager's feed tells.

    `version` and `at` (`meta.lastUpdated`) are the manager's own, as it wrote them; None where it gives none.
    """

    manager: str
    circle_id: str
    version: str | None
    at: str | None
    operation: Operation

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
    """The number of a circle's last change; where nothing is known of it, one below that of any change to come."""

    number: int
    known: bool

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
