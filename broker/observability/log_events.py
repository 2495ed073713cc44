"""What may stand in a log line beside its text, and how a request's line looks.

A line's text is written in the code; what is put into it, and what is given as `extra`, is one of these: names of managers,
topics and files, codes, numbers. Nothing that came from a client or a manager, nothing of a person. Tests hold every call
to it (`tests/architecture/test_log_events.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from broker.current_request import Served

_log = logging.getLogger("broker.requests")

FIELDS: Final[Mapping[str, str]] = {
    "route": "template of the path, as `/fhir/{type}/{id}`; `-` where none takes it",
    "method": "HTTP method; `other` where HTTP does not define it",
    "status": "of the answer; 499 where the client left before it",
    "ms": "milliseconds until the answer was ready",
    "client": "id of the client, as the issuer or CDS_CLIENTS names it; absent where nobody was recognised",
    "request_id": "X-Request-Id, of the answer and of the trail of accesses",
    "reason": "key of the text that the refusal was told with",
    "trace_id": "of the trace that it is a part of, the broker's own or where nothing is traced here the client's",
}
"""Names of `extra` fields. In JSON they are members of the line."""

FORMATTED: Final[Mapping[str, str]] = {
    "slug": "a manager's id",
    "_name": "a manager's id",
    "circle[0]": "a manager's id: the first of the pair that names a circle",
    "manager.id": "a manager's id",
    "base_url": "an address that the operator declared",
    "topic": "a topic's name: it has a manager's id in it",
    "_topic": "a topic's name",
    "topic.name": "a topic's name",
    "stream": "name of an audit file's stream: a node and a worker",
    "_stream": "the same",
    "subscription.id": "the broker's own id of a Subscription",
    "stored.id": "the same",
    "pair[1]": "the broker's own id of a Subscription, of a pair with the manager",
    "one.id": "the broker's own id of a conflict, a keyed hash",
    "identity": "the broker's own number of a dead letter",
    "', '.join(one.references())": "public ids of the circles in conflict",
    "key": "key of a text of the broker's",
    "value": "a code of an enumeration",
    "__name__": "the type of an exception",
    "method": "an HTTP method, of the sandbox",
    "reason": "why, in the broker's words",
    "detail": "why, in the broker's words: a code of a failure",
    "told": "what differs, in the broker's words",
    "_told(error)": "what differs, in the broker's words",
    "why": "an error's type, in the broker's words",
    "consequence": "what follows for requests, in the broker's words",
    "how": "a code: how an unfinished write ended",
    "what": "which file, in the broker's words",
    "name": "name of a process of the broker",
    "text": "a warning of the store's settings, in the broker's words",
    "field": "name of a member of a manager's declaration",
    "told.get('field')": "name of a member of a manager's declaration",
    "told.get('reason')": "why a file was not taken, in the broker's words",
    "error.params.get('reason')": "why a file cannot be read: the system's words for an errno",
    "explained(error)": "what the operator has to change, in the broker's words",
    "', '.join(found)": "network addresses that a manager's name leads to",
    "context.get('message', 'event loop error')": "asyncio's own words for a lost exception",
    "request[REQUEST_ID]": "X-Request-Id",
}
"""What a call may put into its text, by the end of the expression. Beside these: lengths, and the numbers below."""

ONLY_IN: Final[Mapping[str, str]] = {"error": "adapters/access/issuer_keys.py"}
"""What is allowed in one module only: there it tells of the issuer's server and its public keys."""

NUMBERS: Final = frozenset({
    "refused", "lost", "behind", "number", "exitcode", "pause", "status", "sent", "seq", "evicted", "_depth()",
    "_DRAIN_SECONDS", "patience", "monotonic()", "_since",
})  # fmt: skip

QUIET: Final = ("/health/", "/metrics")
"""Routes that machines ask every few seconds: told at level debug."""


def tell_requests() -> Callable[[Served], None]:
    """One line for each request, level info; debug for those of `QUIET`."""

    def tell(served: Served) -> None:
        level = logging.DEBUG if served.route.startswith(QUIET) else logging.INFO
        if not _log.isEnabledFor(level):
            return
        extra: dict[str, object] = {
            "method": served.method,
            "route": served.route,
            "status": served.status,
            "ms": round(served.seconds * 1000, 1),
            "request_id": served.request_id,
        }
        if served.client is not None:
            extra["client"] = served.client
        if served.reason is not None:
            extra["reason"] = served.reason
        _log.log(level, "request", extra=extra)

    return tell
