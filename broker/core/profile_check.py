"""Every problem of a resource at once: R4 first, then the guide's rules, each with its message and its FHIRPath.

Issues name places and what is expected there, never what a client wrote: a body holds people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.core.json_form import MAX_FAULTS, Fault
from broker.core.profile_predicates import elements_at
from broker.core.profile_rules import RULES
from broker.core.structure import covering, is_covered, structure_faults
from broker.errors import Issue


def check_resource(resource: dict[str, Any], *, path: str | None = None) -> list[Issue]:
    """The problems of a resource that a client writes, warnings included, `MAX_FAULTS` at most; empty if none.

    `path` replaces the leading type in the FHIRPaths, as `Bundle.entry[2].resource`. Errors of structure have the
    keys `write.structure.…` (400), broken rules `write.rule.…` (422), warnings `write.ins-key` and the like.
    """
    type_name = resource.get("resourceType")
    known = isinstance(type_name, str) and type_name in RULES
    start = path if path is not None else (str(type_name) if known else "Resource")
    faults = structure_faults(resource, start)
    issues = [_issue_of(fault) for fault in faults]
    if known:
        issues += rule_issues(resource, str(type_name), start, covering(faults))
    return issues[:MAX_FAULTS]


def rule_issues(resource: Mapping[str, Any], type_name: str, start: str, told: frozenset[str]) -> list[Issue]:
    """The broken rules of a type, but for places `told` already, and what is inside them."""
    issues = []
    contexts: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
    for rule in RULES.get(type_name, ()):
        elements = contexts.get(rule.context)
        if elements is None:
            elements = contexts[rule.context] = list(elements_at(resource, rule.context, start))
        for element, where in elements:
            for suffix in rule.broken(element, rule.member, resource):
                place = f"{where}.{rule.member}{suffix}" if rule.member else where
                if not is_covered(place, told):
                    issues.append(Issue(rule.key, {"element": place}, expression=(place,)))
    return issues


def _issue_of(fault: Fault) -> Issue:
    params: dict[str, str | int | float] = {"element": fault.expression}
    if fault.detail:
        params["invariant"] = fault.detail
    return Issue(f"write.structure.{fault.key}", params, expression=(fault.expression,))
