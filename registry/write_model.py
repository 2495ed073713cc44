"""What the store of writes tells: who is in the way of a claim, what still has to be settled. Pure.

Names are opaque: keyed digests of what must be unique (a person, a business identifier). Blobs are opaque too: sealed
before they come here. So the store reveals neither who is written about nor what is written.
"""

from __future__ import annotations

from dataclasses import dataclass

Name = bytes
"""A keyed digest (`broker.core.sealing`), 8–64 bytes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody else holds one of the names.

    `token`: theirs. `settled_by`: the intent whose `finish` ends it (something was sent, or is about to be); None where
    nothing was sent yet: it ends by itself.
    """

    token: int
    settled_by: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """An intent whose writer has not finished it in time: what came of it has to be found out.

    `token` and `names`: its claims, lasting until `finish`. `attempts`: how often it was handed out, this time included.
    """

    intent: str
    token: int
    names: tuple[Name, ...]
    blob: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Fresh:
    """This key is new (or its first owner gave it up): go on, then `finish` or `abandon`."""


@dataclass(frozen=True, slots=True)
class Running:
    """The same request under the same key has not been answered yet."""


@dataclass(frozen=True, slots=True)
class Done:
    """The same request under the same key was answered: give `blob` again."""

    blob: bytes


@dataclass(frozen=True, slots=True)
class Different:
    """The key was used for another request."""


Begun = Fresh | Running | Done | Different
