"""Planning a search before it is sent: who is asked what, who is left out, and why (federation, section 2).

A manager is left out only where it cannot hold a match; unknown means asked. What a manager cannot do is planned to be
done here: a chain in steps, a filter, the order, the includes. What nobody can do is said, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from broker.core.access.principal import BROKER, Principal
from broker.core.identified import Located
from broker.core.query import Criterion, Include, SearchQuery
from broker.core.translation import Dialogue, Verdict, id_chain_as_reference, public_ids, translate
from registry.model import Gestionnaire, Registered, Skills, Status

NOT_HOLDER = "plan.not-holder"
"""Why a manager is left out for which the index speaks."""

ELSEWHERE = "plan.elsewhere"
"""Why a manager is left out to which the query itself does not lead, whoever asks and whatever anybody holds."""


class ManagerPlan(msgspec.Struct, frozen=True):
    """What one manager is asked, in its own ids, and what the broker does for it.

    `criteria` it applies itself; `chains` are resolved to references first, in steps; `filters` are applied here, and
    are in public terms. `includes` it brings itself; `include_here`: fetched by the broker. `sorts`: trusted to sort.
    """

    criteria: tuple[Criterion, ...] = ()
    chains: tuple[Criterion, ...] = ()
    filters: tuple[Criterion, ...] = ()
    includes: tuple[Include, ...] = ()
    include_here: bool = False
    sorts: bool = True


class Ask(msgspec.Struct, frozen=True):
    manager: Gestionnaire
    skills: Skills
    plan: ManagerPlan
    reason: str  # key of a `plan.` message
    parameter: str = ""


class LeftOut(msgspec.Struct, frozen=True):
    manager: Gestionnaire
    reason: str
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Unable:
    """A manager that cannot apply a criterion, nor can the broker for it: not asked, and named."""

    manager: Gestionnaire
    parameter: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A manager that whoever asks does not reach: not asked, and named, whatever the index knows of it."""

    manager: Gestionnaire


@dataclass(frozen=True, slots=True)
class Plan:
    asks: tuple[Ask, ...]
    left_out: tuple[LeftOut, ...]
    unable: tuple[Unable, ...]
    refused: tuple[Refused, ...] = ()

    @property
    def silent(self) -> frozenset[str]:
        """Managers for which the index has answered: they hold no match."""
        return frozenset(one.manager.id for one in self.left_out if one.reason == NOT_HOLDER)

    @property
    def is_refused(self) -> bool:
        """Whether all managers that might hold a match are out of reach."""
        others = self.asks or self.unable or any(one.reason != ELSEWHERE for one in self.left_out)
        return bool(self.refused) and not others


def plan_search(
    query: SearchQuery,
    managers: Sequence[Registered],
    *,
    public_base: str,
    aliases: Mapping[str, str],
    skills_of: Callable[[Registered], Skills],
    located: Located | None = None,
    principal: Principal = BROKER,
) -> Plan:
    """The plan of a search over the registered managers. `aliases`: see `translation.Dialogue`.

    `located`: what the locator says; None: nothing, and everybody who may hold a match is asked. Of a manager that
    `principal` does not reach nothing of it shows.
    """
    asks: list[Ask] = []
    left_out: list[LeftOut] = []
    unable: list[Unable] = []
    refused: list[Refused] = []
    reaches_all = principal.reaches_all
    criteria = [(asked, id_chain_as_reference(asked, query.type)) for asked in query.criteria]
    # A manager that public ids leave out has not answered for its replicas, whatever the index knows of it.
    names_ids = any(public_ids(criterion) for _, criterion in criteria)
    for registered in managers:
        manager = registered.gestionnaire
        if not reaches_all and not principal.reaches(manager):
            is_broker = bool(skills_of(registered).broker)
            dialogue = Dialogue(manager.id, manager.region, public_base, aliases, is_broker)
            leads_elsewhere = _leads_elsewhere(criteria, dialogue)
            if leads_elsewhere is None:
                refused.append(Refused(manager))
            else:
                left_out.append(LeftOut(manager, ELSEWHERE, leads_elsewhere))
            continue
        elsewhere = located.leaves_out(manager.id) if located is not None else None
        if elsewhere is not None and not names_ids:
            left_out.append(LeftOut(manager, NOT_HOLDER, elsewhere))
            continue
        outcome = _plan_one(query, criteria, manager, skills_of(registered), public_base, aliases)
        if elsewhere is not None and not isinstance(outcome, LeftOut):
            outcome = LeftOut(manager, NOT_HOLDER, elsewhere)
        match outcome:
            case Ask():
                asks.append(outcome)
            case LeftOut():
                left_out.append(outcome)
            case Unable():
                unable.append(outcome)
    return Plan(tuple(asks), tuple(left_out), tuple(unable), tuple(refused))


def _leads_elsewhere(criteria: Sequence[tuple[Criterion, Criterion]], dialogue: Dialogue) -> str | None:
    """The criterion that nothing of a manager can meet, by its public ids alone."""
    for asked, criterion in criteria:
        if translate(criterion, dialogue) is Verdict.NOTHING:
            return asked.name
    return None


def _plan_one(
    query: SearchQuery,
    criteria: Sequence[tuple[Criterion, Criterion]],
    manager: Gestionnaire,
    skills: Skills,
    public_base: str,
    aliases: Mapping[str, str],
) -> Ask | LeftOut | Unable:
    """`criteria`: as the client asked them, and as they are planned."""
    dialogue = Dialogue(manager.id, manager.region, public_base, aliases, bool(skills.broker))
    translated: list[tuple[Criterion, Criterion]] = []
    named = ""
    for asked, criterion in criteria:
        own = translate(criterion, dialogue)
        if own is Verdict.NOTHING:
            return LeftOut(manager, ELSEWHERE, asked.name)
        if isinstance(own, Criterion):
            named = asked.name if own != criterion else named
            translated.append((criterion, own))
    if manager.status is Status.SUSPENDED:
        return LeftOut(manager, "plan.suspended")
    plan = _divide(query, translated, skills)
    if isinstance(plan, str):
        return Unable(manager, plan)
    return Ask(manager, skills, plan, "plan.named" if named else "plan.all", named)


def _divide(
    query: SearchQuery, translated: Sequence[tuple[Criterion, Criterion]], skills: Skills
) -> ManagerPlan | str:
    """Who does what; or the name of the criterion that nobody can apply."""
    native: list[Criterion] = []
    chains: list[Criterion] = []
    filters: list[Criterion] = []
    for public, own in translated:
        if own.chain:
            if not _steps_known(own, query.type, skills):
                return own.name
            (native if _chains_natively(own, query.type, skills) else chains).append(own)
            continue
        sent, checked = _shared(own, query.type, skills)
        if sent is not None:
            native.append(sent)
        if checked:
            filters.append(public)
    filtering = filters or any(_ends_here(own, query.type, skills) for own in chains)
    # What is filtered out here must not leave its includes behind: they are fetched for what is kept.
    include_here = bool(query.includes) and (
        bool(filtering) or not _includes_natively(query.includes, skills)
    )
    return ManagerPlan(
        criteria=tuple(native),
        chains=tuple(chains),
        filters=tuple(filters),
        includes=() if include_here else query.includes,
        include_here=include_here,
        sorts=skills.sort is not False,
    )


def _shared(own: Criterion, searched: str, skills: Skills) -> tuple[Criterion | None, bool]:
    """What of a criterion the manager is sent, and whether the broker must filter by it itself."""
    if own.parameter.name == "_source" or not knows(skills, searched, own.parameter.name):
        return None, True
    if trusted(own.modifier, skills):
        return own, not proven(skills, searched, own.parameter.name)
    # What is exactly so begins so: the plain criterion finds all of that, and more.
    return (replace(own, modifier=None) if own.modifier == "exact" else None), True


def _ends_here(chain: Criterion, searched: str, skills: Skills) -> bool:
    """Whether the last step of a chain, from the actors to what is searched, is a filter of the broker's own too."""
    return not proven(skills, searched, chain.chain[0].parameter.name)


def trusted(modifier: str | None, skills: Skills) -> bool:
    """Whether a manager is known to honour a modifier; many drop those that they do not know in silence."""
    return modifier is None or modifier in (skills.modifiers or ())


def knows(skills: Skills, resource_type: str, parameter: str) -> bool:
    """Whether a manager applies a parameter itself, as far as is known; a type that was never checked: it may."""
    names = skills.search_params.get(resource_type)
    return names is None or parameter in names


def proven(skills: Skills, resource_type: str, parameter: str) -> bool:
    """Whether a manager was seen to apply a parameter, or is declared to: then what it answers is not gone over again."""
    return (
        parameter in skills.search_params.get(resource_type, ())
        and f"{resource_type}.{parameter}" not in skills.unproven
    )


def _chains_natively(criterion: Criterion, searched: str, skills: Skills) -> bool:
    """A chain's matches cannot be gone over here: so only where each of its parts was seen to work."""
    links = zip((searched, *(link.target for link in criterion.chain)), criterion.chain, strict=False)
    return (
        bool(skills.chaining)
        and trusted(criterion.modifier, skills)
        and proven(skills, criterion.type, criterion.parameter.name)
        and all(proven(skills, owner, link.parameter.name) for owner, link in links)
    )


def _steps_known(criterion: Criterion, searched: str, skills: Skills) -> bool:
    """Whether every step of a chain is a search that the manager can do by itself (the first may be done here)."""
    owner = criterion.chain[0].target
    for link in criterion.chain[1:]:
        if not knows(skills, owner, link.parameter.name):
            return False
        owner = link.target
    if criterion.modifier != "exact" and not trusted(criterion.modifier, skills):
        return False
    return knows(skills, criterion.type, criterion.parameter.name)


def _includes_natively(includes: Sequence[Include], skills: Skills) -> bool:
    if not skills.include:
        return False
    if any(include.iterate for include in includes) and not skills.iterate:
        return False
    return bool(skills.revinclude) or not any(include.reverse for include in includes)
