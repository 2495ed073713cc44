"""What a write takes beyond its own interaction: rights for each entry of a transaction, and for conditions.

Federation, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from broker.core.access.policy import is_search, lacking, may_see
from broker.core.access.principal import Permission, Principal
from broker.core.condition import read_condition
from broker.core.outcome import issue_of
from broker.core.search_parameters import TYPES
from broker.core.transaction_answer import WrittenEntry
from broker.core.transaction_model import Transaction, TransactionEntry
from broker.errors import AccessError, Issue, RefusedError, RequestError


def check_condition(principal: Principal, resource_type: str, condition: str | None) -> None:
    """A condition that looks for more than business identifiers is a search. Raises `AccessError`; `RequestError` for what
    is no condition."""
    if condition is None or principal.scopes.allows(Permission.SEARCH, resource_type):
        return
    if is_search(read_condition(resource_type, condition)):
        raise lacking(principal, Permission.SEARCH, resource_type)


def check_entries(principal: Principal, transaction: Transaction) -> None:
    """Each entry's own need; refused as a whole, with every entry that lacks a right: `access.transaction` (403)."""
    lacks = list(_refused(principal, transaction))
    if not lacks:
        return
    issues = [replace(issue_of(error), expression=(path,)) for path, error in lacks]
    refusal = RefusedError("access.transaction", [Issue("access.transaction"), *issues])
    refusal.challenge = lacks[0][1].challenge
    raise refusal


def shown_to(principal: Principal, written: WrittenEntry, asked: TransactionEntry) -> WrittenEntry:
    """What was there already is shown to whoever may see it: to the others it is named and no more."""
    if written.created or asked.method == "PUT" or may_see(principal.scopes, written.type):
        return written
    return replace(written, resource=None)


def _refused(principal: Principal, transaction: Transaction) -> Iterator[tuple[str, AccessError]]:
    for entry in transaction.entries:
        permission = Permission.CREATE if entry.method == "POST" else Permission.UPDATE
        if not principal.scopes.allows(permission, entry.type):
            yield f"{entry.path}.request", lacking(principal, permission, entry.type)
            continue
        error = _condition(principal, entry.type, entry.if_none_exist)
        if error is not None:
            yield f"{entry.path}.request.ifNoneExist", error
    for reference in transaction.references:
        kind = (reference.condition or "").partition("?")[0]
        error = _condition(principal, kind, reference.condition) if kind in TYPES else None
        if error is not None:
            yield reference.path, error


def _condition(principal: Principal, resource_type: str, condition: str | None) -> AccessError | None:
    with suppress(RequestError):  # what is no condition is refused as that, by whoever applies it
        try:
            check_condition(principal, resource_type, condition)
        except AccessError as error:
            return error
    return None
