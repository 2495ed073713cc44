"""The registry as a page shows it: managers, and what they lack in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.lacks import describe_lacks
from broker.core.outcome import Language
from registry.model import REGIONS, Registered, Status


@dataclass(frozen=True, slots=True)
class RegistryLine:
    """`lacks`: None where it was never checked. `auth`: how the broker shows who it is there, without what it shows."""

    slug: str
    name: str
    region: str
    base_url: str
    suspended: bool
    optional: bool
    auth: str
    software: str | None
    checked: str | None
    lacks: Sequence[str] | None
    unsettled: bool
    revision: int
    updated: str


def line(registered: Registered, language: Language) -> RegistryLine:
    manager, skills = registered.gestionnaire, registered.skills
    checked = None if skills is None else skills.checked_at
    return RegistryLine(
        slug=manager.id,
        name=manager.name,
        region=REGIONS.get(manager.region, manager.region),
        base_url=manager.base_url,
        suspended=manager.status is Status.SUSPENDED,
        optional=manager.optional,
        auth=manager.auth.type.value,
        software=None if skills is None else skills.software,
        checked=checked,
        lacks=None if skills is None or checked is None else _in(language, describe_lacks(skills)),
        unsettled=skills is not None and skills.unsettled > 0,
        revision=registered.revision,
        updated=registered.updated_at,
    )


def _in(language: Language, pairs: Sequence[tuple[str, str]]) -> Sequence[str]:
    return [fr if language == "fr" else en for fr, en in pairs]
