"""The topics of the change log and what is a name's owner (federation, section 6). Pure."""

from __future__ import annotations

from typing import Final

from registry.model import SLUG

DEFAULT_PREFIX: Final = "cds"
"""Of every topic's name, where the setting CDS_TOPIC_PREFIX says nothing else."""

NOTIFICATIONS: Final = "{prefix}.notifications"
REPLICATION: Final = "{prefix}.replication.{slug}"
DEAD_LETTERS: Final = "{prefix}.dead-letters.{slug}"
CONFLICTS: Final = "{prefix}.conflicts"
REMOVED: Final = "{prefix}.removed.{slug}"
AUDIT: Final = "{prefix}.audit"


def notifications(prefix: str = DEFAULT_PREFIX) -> str:
    """The one topic that tells everybody entitled what changed: ids only, compacted."""
    return NOTIFICATIONS.format(prefix=prefix)


def replication(slug: str, prefix: str = DEFAULT_PREFIX) -> str:
    """The topic of one manager, with the circles that its Subscription selects."""
    return REPLICATION.format(prefix=prefix, slug=slug)


def dead_letters(slug: str, prefix: str = DEFAULT_PREFIX) -> str:
    """What a manager's agent could not apply, with the reason."""
    return DEAD_LETTERS.format(prefix=prefix, slug=slug)


def conflicts(prefix: str = DEFAULT_PREFIX) -> str:
    """Persons with two homes: ids only, compacted; what is left is the list of open ones."""
    return CONFLICTS.format(prefix=prefix)


def removed(slug: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Whose replicas a manager's agent has removed, so that no older event brings one back: ids and numbers only."""
    return REMOVED.format(prefix=prefix, slug=slug)


def audit(prefix: str = DEFAULT_PREFIX) -> str:
    """The trail of accesses, where `CDS_AUDIT` names the log: for who watches over accesses, and nobody else."""
    return AUDIT.format(prefix=prefix)


def owner_of(endpoint: str, prefix: str = DEFAULT_PREFIX) -> str | None:
    """The slug of the manager whose topic a `message` channel names: `kafka:{slug}`, or the topic's own name."""
    for beginning in ("kafka:", REPLICATION.format(prefix=prefix, slug="")):
        slug = endpoint.removeprefix(beginning)
        if slug != endpoint and SLUG.fullmatch(slug) is not None:
            return slug
    return None
