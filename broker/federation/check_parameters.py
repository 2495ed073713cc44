"""Which search parameters of one type really work at a manager; see `broker.federation.probes` for "work".

The bad values are asked one by one: only so does it show which filter is ignored. The good values are asked
together, and one by one only where the resource does not come back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from broker.federation.check_session import CheckSession, together
from broker.federation.probe_pages import Resource
from broker.federation.probes import NOBODY, Trial, trials


@dataclass(frozen=True, slots=True)
class Parameters:
    """`working`: those that filter, sorted; `unproven`: those of them that are only declared."""

    working: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()

    def with_general(self, names: Collection[str]) -> Parameters:
        """With these of the parameters that are defined on Resource, and were tried on another type."""
        return Parameters(tuple(sorted({*self.working, *names})), self.unproven)


async def check_parameters(
    session: CheckSession, resource_type: str, held: Sequence[Resource], declared: Collection[str]
) -> Parameters:
    """Try every parameter of a type with the resources `held` of it; without any, nothing is tried."""
    verdicts: dict[str, bool | None] = {}
    planned = trials(resource_type, held, session.base)
    if held:
        anchored = await _id_works(session, resource_type, held)
        verdicts["_id"] = anchored
        # Where there is nothing to try it with, it will count by declaration or not at all.
        rest = [t for t in planned if t.name != "_id" and (t.good is not None or t.name in declared)]
        filtering = await together(*(_filters(session, trial, bool(anchored)) for trial in rest))
        verdicts |= {trial.name: verdict for trial, verdict in zip(rest, filtering, strict=True)}
        hopeful = [trial for trial in rest if verdicts[trial.name] is not False]
        verdicts |= await _bring_back(session, hopeful, verdicts, anchor=bool(anchored))
    else:
        verdicts = {trial.name: None for trial in planned}
    unproven = {name for name, verdict in verdicts.items() if verdict is None and name in declared}
    working = unproven | {name for name, verdict in verdicts.items() if verdict}
    return Parameters(tuple(sorted(working)), tuple(sorted(unproven)))


async def _id_works(session: CheckSession, resource_type: str, held: Sequence[Resource]) -> bool | None:
    wanted = str(held[0]["id"])
    good = await session.search(resource_type, [("_id", wanted), ("_count", "20")])
    if good.page is None:
        return False if good.refused else None
    if good.page.ids == (wanted,) and len(held) > 1:
        return True  # the others that are held did not come, so there is no need of a bad value
    if wanted not in good.page.ids:
        return False
    bad = await session.search(resource_type, [("_id", NOBODY), ("_count", "1")])
    if bad.page is None:
        return False if bad.refused else None
    return not bad.page.matches


async def _filters(session: CheckSession, trial: Trial, anchored: bool) -> bool | None:
    """Whether the bad value brings nothing; None where that could not be asked."""
    pairs = [(trial.name, trial.bad)]
    if trial.bad_of_holder:
        if trial.holder is None or not anchored:
            return None
        pairs.append(("_id", trial.holder))
    found = await session.search(trial.type, [*pairs, ("_count", "1")])
    if found.page is None:
        return False if found.refused else None
    return not found.page.matches


async def _bring_back(
    session: CheckSession, hopeful: Sequence[Trial], filtering: dict[str, bool | None], *, anchor: bool
) -> dict[str, bool | None]:
    """True where the holder comes back, False where it does not, None where it could not be tried."""
    verdicts: dict[str, bool | None] = {}
    groups: dict[str, list[Trial]] = {}
    for trial in hopeful:
        if trial.good is None or trial.holder is None or (trial.personal and not session.post):
            # By GET the value would be in the address: what names a person is not asked that
            # way just to find out.
            verdicts[trial.name] = None
        else:
            groups.setdefault(trial.holder, []).append(trial)
    for group in groups.values():
        brought = await _together_or_alone(session, group, anchor=anchor)
        # What could not be shown to filter stays unproven, even where the holder came back.
        verdicts |= {n: (v and filtering[n]) if v is not False else False for n, v in brought.items()}
    return verdicts


async def _together_or_alone(
    session: CheckSession, group: Sequence[Trial], *, anchor: bool
) -> dict[str, bool | None]:
    if len(group) > 1 and await _comes_back(session, group, anchor=anchor):
        return {trial.name: True for trial in group}
    alone = await together(*(_comes_back(session, [trial], anchor=anchor) for trial in group))
    return {trial.name: verdict for trial, verdict in zip(group, alone, strict=True)}


async def _comes_back(session: CheckSession, group: Sequence[Trial], *, anchor: bool) -> bool | None:
    """Whether the holder is found by all their good values; None where it may be on a later page."""
    holder = str(group[0].holder)
    pairs = [(trial.name, str(trial.good)) for trial in group]
    if anchor:
        pairs.append(("_id", holder))
    found = await session.search(group[0].type, [*pairs, ("_count", "20")])
    if found.page is None:
        return False if found.refused else None
    if holder in found.page.ids:
        return True
    return None if found.page.more else False
