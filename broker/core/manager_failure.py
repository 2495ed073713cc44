"""How a manager's failure is named: one place for its parameters, and for what an HTTP status means."""

from __future__ import annotations

from broker.errors import FailureKind, ManagerError
from registry.model import Gestionnaire


def failed(
    manager: Gestionnaire,
    kind: FailureKind,
    /,
    *,
    status: int | None = None,
    sent: bool = True,
    detail: str = "",
) -> ManagerError:
    """The error that says `manager` failed by `kind`. `sent`: it may have received the request.

    `detail` is for operators: never a URL, never a body.
    """
    return ManagerError(
        kind,
        status=status,
        sent=sent,
        slug=manager.id,
        name=manager.name,
        region=manager.region,
        detail=detail,
    )


_BY_STATUS = {
    401: FailureKind.REFUSED,
    403: FailureKind.REFUSED,
    408: FailureKind.TIMEOUT,
    429: FailureKind.BUSY,
    501: FailureKind.NOT_SUPPORTED,
    503: FailureKind.BUSY,
    504: FailureKind.TIMEOUT,
    508: FailureKind.LOOP,
}


def kind_of_status(status: int) -> FailureKind | None:
    """What a final HTTP status says of the manager (RFC 9110, section 15); None: no failure (2xx, 304).

    501 is a lack, not an illness: a server without type history must not be taken for a broken one.
    """
    if status < 300 or status == 304:
        return None
    if (kind := _BY_STATUS.get(status)) is not None:
        return kind
    if status >= 500:
        return FailureKind.ERROR
    return FailureKind.REJECTED if status >= 400 else FailureKind.REDIRECT
