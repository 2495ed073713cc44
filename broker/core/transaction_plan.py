"""Which one manager a transaction goes to, and whom it is about (federation, section 4).

A transaction goes whole to one manager or is refused: no manager can undo what another has done. What it updates says
which; where it updates nothing, its home is chosen as for any new circle. What it refers to elsewhere goes along as copies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from broker.core.condition import ids_in_condition, read_condition
from broker.core.transaction_check import fault
from broker.core.transaction_model import Circle, Transaction, TransactionEntry, TransactionPlan
from broker.errors import Issue, RefusedError

ConditionOf = Callable[[Mapping[str, Any]], str | None]
"""A resource → the `ifNoneExist` that finds it by its strongest business identifier; None where it has none."""


def plan_transaction(transaction: Transaction, *, condition_of: ConditionOf | None = None) -> TransactionPlan:
    """`condition_of` makes the creation of actors conditional where the client did not.

    Raises `RefusedError`: transaction.several-managers where PUTs go to more than one, naming which goes where;
    transaction.failed where two creations have one condition, so that they would be one resource.
    """
    conditions = tuple(_condition(entry, condition_of) for entry in transaction.entries)
    _check_distinct(transaction, conditions)
    slugs = dict.fromkeys(one.slug for one in transaction.references if one.slug is not None)
    return TransactionPlan(
        transaction,
        target=_target(transaction),
        referenced=tuple(slugs),
        circle=_circle(transaction),
        conditions=conditions,
        conditional_ids=_conditional_ids(transaction, conditions),
    )


def _target(transaction: Transaction) -> str | None:
    slugs = list(dict.fromkeys(entry.slug for entry in transaction.entries if entry.slug is not None))
    if len(slugs) < 2:
        return slugs[0] if slugs else None
    key, named = "transaction.several-managers", ", ".join(slugs)
    goes = [
        Issue("transaction.entry-manager", {"slug": entry.slug}, "error", (f"{entry.path}.request.url",))
        for entry in transaction.entries
        if entry.slug is not None
    ]
    raise RefusedError(key, [Issue(key, {"slugs": named}), *goes], slugs=named)


def _condition(entry: TransactionEntry, condition_of: ConditionOf | None) -> str | None:
    if entry.method == "PUT" or entry.if_none_exist is not None:
        return entry.if_none_exist
    if condition_of is None or entry.type == "CareTeam":  # a circle's own rule is one per person
        return None
    return condition_of(entry.resource)


def _check_distinct(transaction: Transaction, conditions: tuple[str | None, ...]) -> None:
    seen: set[tuple[str, str]] = set()
    twice: list[Issue] = []
    for entry, condition in zip(transaction.entries, conditions, strict=True):
        if condition is None:
            continue
        if (entry.type, condition) in seen:
            twice.append(fault(entry.index, ".resource", "transaction.duplicate")[1])
        seen.add((entry.type, condition))
    if twice:
        raise RefusedError("transaction.failed", [Issue("transaction.failed"), *twice])


def _circle(transaction: Transaction) -> Circle | None:
    circles = sorted(transaction.circles, key=lambda entry: entry.method != "POST")
    if not circles:
        return None
    circle = circles[0]
    created = circle.method == "POST"
    for reference in transaction.references:
        if reference.entry == circle.index and reference.path == f"{circle.path}.resource.subject":
            target = None if reference.target is None else transaction.entries[reference.target]
            public_id = reference.public_id if target is None else target.public_id
            return Circle(circle, created, target, public_id, reference.condition)
    return Circle(circle, created)


def _conditional_ids(transaction: Transaction, conditions: tuple[str | None, ...]) -> tuple[str, ...]:
    stated = [
        (entry.type, text)
        for entry, text in zip(transaction.entries, conditions, strict=True)
        if text is not None
    ]
    inner = [(one.type, one.condition) for one in transaction.references if one.condition is not None]
    found = [
        public_id
        for kind, text in (*stated, *inner)
        for public_id in ids_in_condition(kind, read_condition(kind, text))
    ]
    return tuple(dict.fromkeys(found))
