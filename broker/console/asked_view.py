"""How each manager fared in a search: asked, and in how long it answered; or not asked, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.console.search_view import Results
from broker.core.routing import Plan
from broker.errors import FailureKind
from registry.model import REGIONS, Gestionnaire

_FAILED = frozenset(f"manager.{kind.value}" for kind in FailureKind)


@dataclass(frozen=True, slots=True)
class ManagerLine:
    """`state`: asked, failed, left-out, refused, unable. `why`: key of a `plan.…` or `manager.…` text and its
    parameter. `seconds`: from the first request to its last answer, None where nothing was sent."""

    id: str
    name: str
    region: str
    state: str
    why: str
    parameter: str = ""
    seconds: float | None = None
    exchanges: int = 0
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Waited:
    """How long a manager was waited for, in seconds, over how many exchanges."""

    seconds: float
    exchanges: int


def manager_lines(plan: Plan, found: Results, waited: Mapping[str, Waited]) -> tuple[ManagerLine, ...]:
    """Every manager of the plan: those asked first, then those that were not, and why."""
    failures = {one.manager: one.key for one in found.issues if one.key in _FAILED}
    shown: dict[str, int] = {}
    for one in found.circles:
        shown[one.shown] = shown.get(one.shown, 0) + 1
    lines = []
    for ask in plan.asks:
        failure, wait = failures.get(ask.manager.id), waited.get(ask.manager.id)
        lines.append(
            _line(
                ask.manager,
                "asked" if failure is None else "failed",
                failure or ask.reason,
                ask.parameter,
                seconds=None if wait is None else wait.seconds,
                exchanges=0 if wait is None else wait.exchanges,
                shown=shown.get(ask.manager.id, 0),
            )
        )
    lines += [_line(one.manager, "unable", "manager.not-supported", one.parameter) for one in plan.unable]
    lines += [_line(one.manager, "refused", "manager.not-authorised") for one in plan.refused]
    lines += [_line(one.manager, "left-out", one.reason, one.parameter) for one in plan.left_out]
    return tuple(lines)


def _line(
    manager: Gestionnaire,
    state: str,
    why: str,
    parameter: str = "",
    *,
    seconds: float | None = None,
    exchanges: int = 0,
    shown: int = 0,
) -> ManagerLine:
    region = REGIONS.get(manager.region, manager.region)
    return ManagerLine(manager.id, manager.name, region, state, why, parameter, seconds, exchanges, shown)
