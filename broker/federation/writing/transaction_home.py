"""The one manager that a transaction goes to (federation, section 4)."""

from __future__ import annotations

from broker.core import json_text
from broker.core.departments import departments_of
from broker.core.entry import Entry
from broker.core.transaction_model import TransactionPlan
from broker.errors import Issue, RefusedError
from broker.federation.context import RequestContext
from broker.federation.writing.desk import Desk
from broker.federation.writing.records import Target


def target_of(
    desk: Desk,
    plan: TransactionPlan,
    stated_home: str | None,
    patient: Entry | None,
    context: RequestContext,
) -> Target:
    """Where it goes: to whom it updates something of, else where what it makes belongs. `patient`: of its circle.

    Raises `transaction.several-managers` where another home is stated, `access.manager`, and the errors of
    `broker.core.home`.
    """
    if plan.target is None:
        return _chosen(desk, plan, stated_home, patient, context)
    registered = desk.registered(plan.target)
    context.check_reach(registered.gestionnaire)
    if stated_home is not None and stated_home.strip() != plan.target:
        key = "transaction.several-managers"
        slugs = f"{plan.target}, {stated_home.strip()}"
        raise RefusedError(key, [Issue(key, {"slugs": slugs})], slugs=slugs)
    return desk.target(registered)


def _chosen(
    desk: Desk,
    plan: TransactionPlan,
    stated_home: str | None,
    patient: Entry | None,
    context: RequestContext,
) -> Target:
    """The home of a transaction that updates nothing: where its circle belongs, else where its first actor does."""
    circle = plan.circle
    first = plan.transaction.entries[0] if circle is None else circle.entry
    departments: list[str] = []
    if patient is not None:
        departments += departments_of(json_text.tree(patient.raw))
    if circle is not None and circle.patient is not None:
        departments += departments_of(circle.patient.resource)
    for entry in plan.transaction.entries:
        if entry.type in ("Patient", "Organization"):
            departments += departments_of(entry.resource)
    needs = [
        (entry.type, "create" if entry.method == "POST" else "update") for entry in plan.transaction.entries
    ]
    return desk.home(first.resource, stated_home, departments, list(dict.fromkeys(needs)), context)
