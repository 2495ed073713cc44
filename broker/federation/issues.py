"""What a client is told beside its results, or in place of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from broker.core.outcome import OUTCOME_SYSTEM, render_outcome
from broker.core.reported import remarks, told_in
from broker.core.routing import Plan
from broker.errors import FailureKind, Issue, ManagerError
from broker.federation.context import RequestContext
from registry.model import Gestionnaire


@dataclass(frozen=True, slots=True)
class FederatedAnswer:
    """A Bundle (200), or the OperationOutcome that stands for an answer nobody gave (5xx)."""

    status: int
    body: bytes


NOT_AUTHORISED = "manager.not-authorised"

_PARTIAL = frozenset({"fatal", "error", "warning"})

_WHOLE = frozenset({"manager.unsorted", "manager.suspended"})
"""What a broker may say of its managers that takes nothing from its results."""


def manager_issue(key: str, manager: Gestionnaire, **more: str) -> Issue:
    """An issue about one manager."""
    return Issue(key, {"slug": manager.id, "name": manager.name, "region": manager.region, **more})


def relayed_issues(body: bytes, manager: Gestionnaire) -> list[Issue]:
    """What a manager says in an OperationOutcome of its own, said to be its words; a broker names its regions so."""
    return remarks(body, {"slug": manager.id, "name": manager.name, "region": manager.region})


def tells_partial(body: bytes) -> bool:
    """Whether the outcome of a broker among the managers says that one of its own did not answer in full, or is not open
    to this one."""
    return any(
        system == OUTCOME_SYSTEM
        and (code or "").startswith("manager.")
        and code not in _WHOLE
        and (one.severity in _PARTIAL or code == NOT_AUTHORISED)
        for one in told_in(body)
        for system, code in one.codes
    )


def not_authorised(managers: Iterable[Gestionnaire]) -> list[Issue]:
    """Managers that were not asked because the client does not reach them."""
    return [manager_issue(NOT_AUTHORISED, one) for one in managers]


def plan_issues(plan: Plan) -> list[Issue]:
    """Managers that were not asked although they may hold matches: out of reach, unable, or suspended."""
    unable = [
        manager_issue("manager.not-supported", one.manager, parameter=one.parameter) for one in plan.unable
    ]
    suspended = [
        manager_issue("manager.suspended", one.manager)
        for one in plan.left_out
        if one.reason == "plan.suspended"
    ]
    return not_authorised(one.manager for one in plan.refused) + unable + suspended


_WAITING = frozenset({FailureKind.BUSY, FailureKind.BREAKER_OPEN})


def status_of_all_failed(failures: Iterable[ManagerError]) -> int:
    """Of an answer nobody gave: 504 all late, 503 all saturated or in a pause, 501 all unable, else 502."""
    kinds = {error.kind for error in failures}
    if kinds <= {FailureKind.NOT_SUPPORTED}:
        return 501
    if kinds == {FailureKind.TIMEOUT}:
        return 504
    return 503 if kinds <= _WAITING else 502


def refusal(status: int, issues: Sequence[Issue], context: RequestContext) -> FederatedAnswer:
    """An answer that is an error: its first issue says so whatever its row says beside results."""
    errors = [replace(issue, severity="error") for issue in issues[:1]] + list(issues[1:])
    context.touched.reason = errors[0].key
    return FederatedAnswer(status, render_outcome(errors, language=context.language))


def all_refused(issues: Sequence[Issue], context: RequestContext) -> FederatedAnswer:
    """Where the client reaches nobody who could answer."""
    return refusal(403, [Issue("access.no-manager"), *issues], context)


def outcome_entry(issues: Collection[Issue], context: RequestContext) -> bytes | None:
    """The outcome of a Bundle, where there is something to say."""
    return render_outcome(list(issues), language=context.language) if issues else None
