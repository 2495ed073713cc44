"""What a client is answered after a write (FHIR R4, http.html#create, #update, #ops)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from broker.core.access.policy import may_see
from broker.core.entry import Entry
from broker.core.manager_failure import failed, kind_of_status
from broker.core.outcome import render_outcome
from broker.core.preferences import Return
from broker.core.validators import validators
from broker.errors import FailureKind, Issue
from broker.federation.context import RequestContext
from broker.federation.issues import manager_issue, relayed_issues
from broker.federation.writing.records import Target, WriteAnswer
from broker.ports import ManagerAnswer

_RELAYED = frozenset({400, 404, 405, 409, 410, 412, 415, 422, 500})
"""Statuses of a manager that are an answer to the client: it is told in the manager's own words."""

_VALIDATORS = ("etag", "last-modified")


def written(
    entry: Entry,
    *,
    status: int,
    public_base: str,
    stated: Mapping[str, str],
    warnings: Sequence[Issue],
    context: RequestContext,
    update: bool = False,
) -> WriteAnswer:
    """A resource that was created (201), updated, or found by a condition (200). `stated`: the manager's headers.

    What was found is shown to a client that may read or search its type; another one is told where it is.
    """
    headers = validators(entry.version_id, entry.last_updated)
    headers |= {name: stated[name] for name in _VALIDATORS if name in stated}
    place = f"{public_base}/{entry.type}/{entry.public_id}"
    if entry.version_id:
        place += f"/_history/{entry.version_id}"
    headers["content-location"] = place
    if not update:
        headers["location"] = place
    headers |= warning_headers(warnings)
    was_there = status == 200 and not update
    if was_there and not may_see(context.principal.scopes, entry.type):
        return WriteAnswer(status, b"", headers)
    return WriteAnswer(status, _body(entry, warnings, context), headers)


def _body(entry: Entry, warnings: Sequence[Issue], context: RequestContext) -> bytes:
    match context.preferences.return_:
        case Return.MINIMAL:
            return b""
        case Return.OPERATION_OUTCOME:
            return render_outcome([Issue("write.stored"), *warnings], language=context.language)
        case _:
            return entry.raw


def warning_headers(warnings: Sequence[Issue]) -> dict[str, str]:
    """`Warning` (RFC 7234, section 5.5), so that a client that is given its resource back is warned too.

    Only keys and places: texts are in two languages, and not for headers.
    """
    if not warnings:
        return {}
    said = (f'199 cds-broker "{issue.key} {" ".join(issue.expression)}"' for issue in warnings)
    return {"warning": ", ".join(said)}


def refused_by_manager(answer: ManagerAnswer, target: Target, context: RequestContext) -> WriteAnswer:
    """A manager's refusal, in its own words. Raises `ManagerError` where it is none: the fault is not the client's."""
    manager = target.calls.manager
    if answer.status not in _RELAYED:
        kind = kind_of_status(answer.status) or FailureKind.INVALID
        raise failed(manager, kind, status=answer.status)
    own = manager_issue("write.refused", manager)
    told = [replace(one, severity="error") for one in relayed_issues(answer.body, manager)]
    body = render_outcome([own, *told], language=context.language)
    return WriteAnswer(answer.status, body)
