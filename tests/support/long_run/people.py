"""The circles that the load knows of, and what it may say of each at any time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.support.sync_traffic import Creation
from tests.support.write_world import Person


@dataclass(eq=False)
class Known:
    """A circle that there is. `version`: the last that the broker acknowledged. `gone`: deleted, or about to be."""

    public_id: str
    person: Person
    identifier: str
    version: int = 1
    gone: bool = False

    @property
    def home(self) -> str:
        return self.public_id.partition(".")[0]

    @property
    def local_id(self) -> str:
        return self.public_id.partition(".")[2]


@dataclass
class People:
    """`still`: circles that nobody changes, by public id. `accepted`: public id and version of what was acknowledged."""

    dice: random.Random
    circles: list[Known] = field(default_factory=list)
    still: set[str] = field(default_factory=set)
    accepted: set[tuple[str, str]] = field(default_factory=set)
    unanswered: list[Creation] = field(default_factory=list)

    def one(self) -> Known | None:
        return self.dice.choice(self.circles) if self.circles else None

    def acknowledged(self, one: Known, version: str) -> None:
        self.accepted.add((one.public_id, version))
        one.version = max(one.version, int(version))

    def forget(self, one: Known) -> None:
        """Nothing more is said of it: it is gone, or it is not known what became of it."""
        one.gone = True
        if one in self.circles:
            self.circles.remove(one)
