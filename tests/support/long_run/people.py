"""The circles that the load knows of, and what it may say of each at any time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.sync_traffic import Creation
from tests.support.write_world import Person


@dataclass(eq=False)
class Known:
    """A circle that there is. `version`: the last that the broker acknowledged. `gone`: deleted, or about to be.

    `begun`, `under_way`: how many changes of it, by whomsoever.
    """

    public_id: str
    person: Person
    identifier: str
    version: int = 1
    gone: bool = False
    begun: int = 0
    under_way: int = 0

    @property
    def home(self) -> str:
        return self.public_id.partition(".")[0]

    @property
    def local_id(self) -> str:
        return self.public_id.partition(".")[2]

    @contextmanager
    def changing(self) -> Iterator[Callable[[], bool]]:
        """While a change is under way; what is given tells whether it is, and was all the time, the only one."""
        self.begun += 1
        self.under_way += 1
        begun, first = self.begun, self.under_way == 1
        try:
            yield lambda: first and self.begun == begun
        finally:
            self.under_way -= 1


@dataclass
class People:
    """`still`: circles that nobody changes, by public id. `accepted`: public id and version of what was acknowledged.
    `contended`: those of them that were written while another change of the same circle was under way."""

    dice: random.Random
    circles: list[Known] = field(default_factory=list)
    still: set[str] = field(default_factory=set)
    accepted: set[tuple[str, str]] = field(default_factory=set)
    contended: set[tuple[str, str]] = field(default_factory=set)
    unanswered: list[Creation] = field(default_factory=list)

    def one(self) -> Known | None:
        return self.dice.choice(self.circles) if self.circles else None

    def acknowledged(self, one: Known, version: str, *, alone: bool = True) -> None:
        self.accepted.add((one.public_id, version))
        if not alone:
            self.contended.add((one.public_id, version))
        one.version = max(one.version, int(version))

    def forget(self, one: Known) -> None:
        """Nothing more is said of it: it is gone, or it is not known what became of it."""
        one.gone = True
        if one in self.circles:
            self.circles.remove(one)
