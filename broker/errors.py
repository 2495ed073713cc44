"""The one tree of errors.

An error names a row of `broker.core.messages.MESSAGES` by its `key`; the row holds the HTTP status, the FHIR issue
type and the texts, French and English. `params` fill the texts: they are parameter names, manager slugs, limits,
never what a client or a manager sent as data about a person.
"""

from __future__ import annotations

from enum import StrEnum


class BrokerError(Exception):
    """Root of everything the product raises on purpose."""

    def __init__(self, key: str, /, **params: str | int | float) -> None:
        super().__init__(key, params)
        self.key = key
        self.params = params


class RequestError(BrokerError):
    """The client asked for something that cannot be honoured as it stands (4xx)."""


class ConfigurationError(BrokerError):
    """A setting, a file or a registration is wrong; said to the operator who wrote it."""


class StoreError(BrokerError):
    """The registry's store (Redis) does not answer, or refuses."""


class FailureKind(StrEnum):
    """How a manager failed. Back-off and breaker judge by this, never by texts."""

    TIMEOUT = "timeout"  # no full answer before the deadline
    UNREACHABLE = "unreachable"  # no connection, or cut before the end
    BREAKER_OPEN = "breaker-open"  # not asked: it failed a moment ago and is being probed
    BUSY = "busy"  # not asked: its own connection limit is taken, or it said 429/503
    REFUSED = "refused"  # 401 or 403: our credentials, or the caller's rights
    ERROR = "error"  # 5xx
    REJECTED = "rejected"  # other 4xx: it did not take this request
    INVALID = "invalid"  # an answer that is no FHIR, truncated, too deep, of the wrong type
    INCOMPLETE = "incomplete"  # it says there is more, and gives no way to it
    TOO_LARGE = "too-large"  # an answer over the size bound
    REDIRECT = "redirect"  # a redirect, or a link out of its registered base
    LOOP = "loop"  # the request came back to this federation
    NOT_SUPPORTED = "not-supported"  # a criterion that neither it nor the broker can apply


class ManagerError(BrokerError):
    """A manager did not give a usable answer. `status` is its HTTP status where there was one."""

    def __init__(
        self, kind: FailureKind, /, *, status: int | None = None, **params: str | int | float
    ) -> None:
        super().__init__(f"manager.{kind.value}", **params)
        self.kind = kind
        self.status = status
