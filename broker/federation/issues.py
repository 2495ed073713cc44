"""What a client is told beside its results, or in place of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from broker.core.outcome import OUTCOME_SYSTEM, render_outcome
from broker.core.routing import Plan
from broker.errors import FailureKind, Issue, ManagerError
from broker.federation.context import RequestContext
from registry.model import Gestionnaire

MAX_RELAYED = 20
"""Issues of one manager that are passed on; more would drown the others'."""

_MAX_TEXT = 300
_ADDRESS = re.compile(r"\w+://\S+")
_LONG_NUMBER = re.compile(r"\d[\dAB ]{6,}\d")


@dataclass(frozen=True, slots=True)
class FederatedAnswer:
    """A Bundle (200), or the OperationOutcome that stands for an answer nobody gave (5xx)."""

    status: int
    body: bytes


class _Coding(msgspec.Struct):
    system: str | None = None
    code: str | None = None


class _Details(msgspec.Struct):
    text: str | None = None
    coding: list[_Coding] = []


class _Issue(msgspec.Struct):
    severity: str = "warning"
    diagnostics: str | None = None
    details: _Details | None = None


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


_decode = msgspec.json.Decoder(_Outcome).decode
_SEVERITY = {"fatal": "warning", "error": "warning", "warning": "warning"}
"""A manager's error beside its results is a warning of the whole."""

_WHOLE = frozenset({"manager.unsorted", "manager.suspended"})
"""What a broker may say of its managers that takes nothing from its results."""


def manager_issue(key: str, manager: Gestionnaire, **more: str) -> Issue:
    """An issue about one manager."""
    return Issue(key, {"slug": manager.id, "name": manager.name, "region": manager.region, **more})


def relayed_issues(body: bytes, manager: Gestionnaire) -> list[Issue]:
    """What a manager says in an OperationOutcome of its own, said to be its words; a broker names its regions so."""
    try:
        told = _decode(body).issue[:MAX_RELAYED]
    except msgspec.DecodeError:
        return []
    return [
        replace(
            manager_issue("manager.reported", manager),
            severity=_SEVERITY.get(one.severity, "information"),
            diagnostics=_harmless((one.details and one.details.text) or one.diagnostics or ""),
        )
        for one in told
    ]


def tells_partial(body: bytes) -> bool:
    """Whether the outcome of a broker among the managers says that one of its own did not answer in full."""
    try:
        told = _decode(body).issue
    except msgspec.DecodeError:
        return False
    return any(
        coding.system == OUTCOME_SYSTEM
        and (coding.code or "").startswith("manager.")
        and coding.code not in _WHOLE
        and one.severity in _SEVERITY
        for one in told
        for coding in (one.details.coding if one.details else ())
    )


def _harmless(text: str) -> str | None:
    """A manager's own words, shortened: servers like to repeat addresses and identifiers in them."""
    return _LONG_NUMBER.sub("…", _ADDRESS.sub("…", text))[:_MAX_TEXT].strip() or None


def plan_issues(plan: Plan) -> list[Issue]:
    """Managers that were not asked although they may hold matches: unable, or suspended."""
    unable = [
        manager_issue("manager.not-supported", one.manager, parameter=one.parameter) for one in plan.unable
    ]
    suspended = [
        manager_issue("manager.suspended", one.manager)
        for one in plan.left_out
        if one.reason == "plan.suspended"
    ]
    return unable + suspended


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
    return FederatedAnswer(status, render_outcome(errors, language=context.language))


def outcome_entry(issues: Collection[Issue], context: RequestContext) -> bytes | None:
    """The outcome of a Bundle, where there is something to say."""
    return render_outcome(list(issues), language=context.language) if issues else None
