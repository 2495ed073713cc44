"""Which manager a new resource goes to: its home (federation, section 4). Pure.

The signs, in order: what the client states (`X-Gestionnaire`), the manager of the person or actor that the resource
refers to, the caller's own manager, the territory, the operator's default. The first that says something decides, and the
answer carries which it was.

Only a manager that is active and takes such a write can be home. A client that states another one is told so. So is one
whose resource belongs to another one's person: a circle belongs where its person is, and to put it elsewhere because that
manager is away would part them for good. The lesser signs only ever choose among managers that can be home.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.core.access.policy import out_of_reach
from broker.core.access.principal import BROKER, Principal
from broker.core.references import named_by
from broker.errors import Issue, RefusedError
from registry.model import Registered, Status

CREATE_CIRCLE = (("CareTeam", "create"),)

_BELONGS_WITH: Mapping[str, tuple[str, ...]] = {
    "CareTeam": ("subject",),
    "RelatedPerson": ("patient",),
    "PractitionerRole": ("practitioner", "organization"),
    "Organization": ("partOf",),
}
"""Elements that say with whom a resource belongs, the weightiest first. A carer may come from anywhere: so no members."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A manager that a reference names: its slug, and the FHIRPath of the reference."""

    slug: str
    path: str


@dataclass(frozen=True, slots=True)
class HomeSigns:
    """What may say where a resource goes.

    `stated`: the header as it came. `subject`: managers of what the resource belongs with, the weightiest first (see
    `signs_in`). `own`: slugs of the caller's managers. `departments`: of the person's address, then of the managing
    organisation's (see `departments_of`). `default`: the slug of the setting CDS_HOME.
    """

    stated: str | None = None
    subject: Sequence[Sign] = ()
    own: Sequence[str] = ()
    departments: Sequence[str] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """The manager chosen, and why.

    `reason`: `home.stated`, `.subject`, `.own`, `.territory` or `.default`. `passed_over`: signs that spoke before and did
    not decide, as information to be shown with the reason.
    """

    registered: Registered
    reason: str
    passed_over: tuple[Issue, ...] = ()

    @property
    def slug(self) -> str:
        return self.registered.gestionnaire.id


def choose_home(
    signs: HomeSigns,
    managers: Sequence[Registered],
    *,
    needs: Sequence[tuple[str, str]] = CREATE_CIRCLE,
    principal: Principal = BROKER,
) -> Home:
    """The home of a new resource. `needs`: each (type, `create` or `update`) that is to be written there.

    What a client reaches does not move the home: one out of its reach is `AccessError` access.manager (403).

    Raises `RefusedError`, 422: `write.home-not-registered`, `write.home-suspended`, `write.home-no-writes` for a manager
    that is stated or has the person; `write.reference-unknown` where the person's is none of ours;
    `write.home-unknown` where nothing decides, with one issue for each sign that is missing.
    """
    home = _Choice(signs, {one.gestionnaire.id: one for one in managers}, needs, principal).made()
    if not principal.reaches(home.registered.gestionnaire):
        raise out_of_reach(home.registered.gestionnaire)
    return home


def signs_in(resource: Mapping[str, Any], public_base: str, *, path: str | None = None) -> tuple[Sign, ...]:
    """The managers of what a resource belongs with: the circle's subject, the role's practitioner and organisation.

    `path` stands for the type at the beginning of the FHIRPaths.
    """
    kind = resource.get("resourceType")
    found = []
    for element in _BELONGS_WITH.get(str(kind), ()):
        held = resource.get(element)
        reference = held.get("reference") if isinstance(held, Mapping) else None
        named = named_by(reference, public_base) if isinstance(reference, str) else None
        if named is not None and "." in named.public_id:
            found.append(Sign(named.slug, f"{path or kind}.{element}"))
    return tuple(found)


def lacking_write(registered: Registered, needs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first (type, interaction) that a manager does not declare; None: all of them, or nobody knows."""
    declared = registered.skills.interactions if registered.skills is not None else {}
    if not any(declared.values()):
        return None
    return next((need for need in needs if need[1] not in declared.get(need[0], ())), None)


@dataclass(slots=True)
class _Choice:
    signs: HomeSigns
    managers: Mapping[str, Registered]
    needs: Sequence[tuple[str, str]]
    principal: Principal = BROKER
    passed_over: list[Issue] = field(default_factory=list)

    def made(self) -> Home:
        signs = self.signs
        if signs.stated is not None:
            return self._demanded(signs.stated.strip(), "home.stated")
        if signs.subject:
            return self._demanded(signs.subject[0].slug, "home.subject", signs.subject[0].path)
        chosen = self._own() or self._by_territory() or self._default()
        if chosen is None:
            raise self._undecided()
        return chosen

    def _demanded(self, slug: str, reason: str, *path: str) -> Home:
        """The manager that is stated, or has the person: no other will do."""
        registered = self.managers.get(slug)
        if registered is None:
            key = "write.home-not-registered" if reason == "home.stated" else "write.reference-unknown"
            # What was stated is not repeated: it may be anything, and an INS has the form of a slug.
            raise RefusedError(key, [Issue(key, expression=path), *self._candidates()])
        against = self._against(registered)
        if against is not None:
            key, params = against
            issues = [Issue(key, params, expression=path), Issue(reason, params, expression=path)]
            raise RefusedError(key, issues, **params)
        return self._home(registered, reason)

    def _own(self) -> Home | None:
        able = self._able(slug for slug in dict.fromkeys(self.signs.own))
        if len(able) == 1:
            return self._home(able[0], "home.own")
        self._pass(Issue("home.own-several", {"homes": _slugs(able)}) if able else Issue("home.no-own"))
        return None

    def _by_territory(self) -> Home | None:
        """The first department that a manager claims decides; several claimants do not."""
        for department in dict.fromkeys(self.signs.departments):
            able = self._able(
                slug for slug, one in self.managers.items() if department in one.gestionnaire.territory
            )
            if len(able) == 1:
                return self._home(able[0], "home.territory")
            if able:
                self._pass(Issue("home.territory-shared", {"homes": _slugs(able)}))
                return None
        self._pass(Issue("home.territory-unclaimed" if self.signs.departments else "home.no-department"))
        return None

    def _default(self) -> Home | None:
        slug = self.signs.default
        if not slug:
            self._pass(Issue("home.no-default"))
        elif slug not in self.managers:
            self._pass(Issue("home.default-not-registered", {"home": slug}))
        elif able := self._able([slug]):
            return self._home(able[0], "home.default")
        return None

    def _able(self, slugs: Iterable[str]) -> list[Registered]:
        """Those that can be home; why another that a sign named cannot is noted."""
        able = []
        for slug in slugs:
            registered = self.managers.get(slug)
            if registered is None:
                continue
            against = self._against(registered)
            if against is None:
                able.append(registered)
            else:
                self._pass(Issue(*against, severity="information"))
        return able

    def _against(self, registered: Registered) -> tuple[str, dict[str, str]] | None:
        """Why a manager cannot be home: a key and its parameters."""
        manager = registered.gestionnaire
        params = {"slug": manager.id, "name": manager.name, "region": manager.region}
        if manager.status is not Status.ACTIVE:
            return "write.home-suspended", params
        lacking = lacking_write(registered, self.needs)
        if lacking is not None:
            return "write.home-no-writes", params | {"type": lacking[0], "interaction": lacking[1]}
        return None

    def _home(self, registered: Registered, reason: str) -> Home:
        return Home(registered, reason, tuple(self.passed_over))

    def _pass(self, issue: Issue) -> None:
        if issue not in self.passed_over:
            self.passed_over.append(issue)

    def _candidates(self) -> list[Issue]:
        """The managers that could be stated, for a client that must state one."""
        reached = (one for one in self.managers.values() if self.principal.reaches(one.gestionnaire))
        able = [one for one in reached if self._against(one) is None]
        return [Issue("home.candidates", {"homes": _slugs(able)})] if able else [Issue("home.no-candidates")]

    def _undecided(self) -> RefusedError:
        missing = [Issue("home.no-subject"), *self.passed_over]
        return RefusedError(
            "write.home-unknown", [Issue("write.home-unknown"), *missing, *self._candidates()]
        )


def _slugs(managers: Sequence[Registered]) -> str:
    return ", ".join(sorted(one.gestionnaire.id for one in managers))
