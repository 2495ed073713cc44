"""The one tree of errors.

An error names a row of `broker.core.messages.MESSAGES` by its `key`; the row holds the HTTP status, the FHIR issue
type and the texts, French and English. `params` fill the texts: they are parameter names, manager slugs, limits,
never what a client or a manager sent as data about a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome: a row of `MESSAGES` and what fills its texts.

    `params` of a `manager.…` row are `slug`, `name` and `region` (a TRE_R30 code or its name, else any text).
    `severity` replaces the row's own. `expression` holds FHIRPaths into what the client sent.
    """

    key: str
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    severity: str | None = None
    expression: tuple[str, ...] = ()
    diagnostics: str | None = None


class BrokerError(Exception):
    """Root of everything the product raises on purpose.

    `location`: the public address of what is there in place of what was asked for (409). `challenge`: the
    `WWW-Authenticate` header that the answer comes with (RFC 9110, 11.6.1). `retry_after`: seconds (RFC 9110, 10.2.3).
    """

    location: str | None = None
    challenge: str | None = None
    retry_after: int | None = None

    def __init__(self, key: str, /, **params: str | int | float) -> None:
        super().__init__(key, params)
        self.key = key
        self.params = params


class RequestError(BrokerError):
    """The client asked for something that cannot be honoured as it stands (4xx)."""


class RefusedError(RequestError):
    """What a client sent breaks several rules, or must be answered with more than one issue: all are told at once."""

    def __init__(self, key: str, /, issues: Sequence[Issue], **params: str | int | float) -> None:
        super().__init__(key, **params)
        self.issues = tuple(issues)


class AccessError(BrokerError):
    """Who asks is not known (401), may not do it (403), or cannot be judged now (503).

    `proven`: the client that credentials prove it to be and that is not let in all the same; for the audit alone."""

    proven: str | None = None

    def __init__(self, key: str, /, *, challenge: str | None = None, **params: str | int | float) -> None:
        super().__init__(key, **params)
        self.challenge = challenge


class LimitError(BrokerError):
    """A client asks for too much at a time (429)."""

    def __init__(self, key: str, /, *, retry_after: int, **params: str | int | float) -> None:
        super().__init__(key, **params)
        self.retry_after = retry_after


class ConfigurationError(BrokerError):
    """A setting, a file or a registration is wrong; said to the operator who wrote it."""


class StoreError(BrokerError):
    """The registry's store (Redis) does not answer, or refuses."""


class AuditError(BrokerError):
    """The trail of accesses cannot be written, or not be read."""


class FailureKind(StrEnum):
    """How a manager failed. Back-off and breaker judge by this, never by texts."""

    TIMEOUT = "timeout"  # no full answer before the deadline
    UNREACHABLE = "unreachable"  # no connection, or cut before the end
    BREAKER_OPEN = "breaker-open"  # not asked: it failed a moment ago and is being probed
    BUSY = "busy"  # not asked: its own connection limit is taken, or it said 429/503
    REFUSED = "refused"  # 401 or 403: our credentials, or the caller's rights
    CREDENTIALS = (
        "credentials"  # not asked: nothing to authenticate with (our secrets, or its token endpoint)
    )
    ADDRESS = "address"  # not asked: its address leads where this broker does not call
    ERROR = "error"  # 5xx
    REJECTED = "rejected"  # other 4xx: it did not take this request
    INVALID = "invalid"  # an answer that is no FHIR, truncated, too deep, of the wrong type
    INCOMPLETE = "incomplete"  # it says there is more, and gives no way to it
    TOO_LARGE = "too-large"  # an answer over the size bound
    REDIRECT = "redirect"  # a redirect, or a link out of its registered base
    LOOP = "loop"  # the request came back to this federation
    NOT_SUPPORTED = "not-supported"  # a criterion that neither it nor the broker can apply


class ManagerError(BrokerError):
    """A manager did not give a usable answer. `status` is its HTTP status where there was one.

    `sent`: whether it may have received the request. What was not sent did not happen; what was may have.
    """

    def __init__(
        self,
        kind: FailureKind,
        /,
        *,
        status: int | None = None,
        sent: bool = True,
        **params: str | int | float,
    ) -> None:
        super().__init__(f"manager.{kind.value}", **params)
        self.kind = kind
        self.status = status
        self.sent = sent
