"""How a declaration becomes its next version. Pure: the stores read, decide here, then write by
compare-and-set."""

from __future__ import annotations

import msgspec

from broker.errors import RequestError
from registry.model import Gestionnaire, Registered


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a manager's history. A removal is a version too, so that no revision is ever used twice."""

    registered: Registered
    removed: bool = False


def next_version(
    head: Version | None, gestionnaire: Gestionnaire, expected_revision: int | None, now: str
) -> Registered | None:
    """The version to write after `head`, the newest of the history; None where nothing changes.

    `expected_revision`: None writes whatever is there, 0 creates only. Raises
    `RequestError("registry.conflict")`.
    """
    current = None if head is None or head.removed else head.registered
    present = 0 if current is None else current.revision
    if expected_revision is not None and expected_revision != present:
        raise RequestError("registry.conflict", slug=gestionnaire.id)
    if current is not None and current.gestionnaire == gestionnaire:
        return None
    last = 0 if head is None else head.registered.revision
    return Registered(gestionnaire=gestionnaire, revision=last + 1, updated_at=now)


def removal(head: Version | None, now: str) -> Version | None:
    """The version that records a removal; None where there is nothing to remove."""
    if head is None or head.removed:
        return None
    gone = msgspec.structs.replace(
        head.registered, revision=head.registered.revision + 1, updated_at=now, skills=None
    )
    return Version(gone, removed=True)
