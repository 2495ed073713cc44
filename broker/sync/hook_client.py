"""HTTP towards subscribers' endpoints. A port; `adapters.hook_http` implements it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class HookFailure(StrEnum):
    """Why nothing came back. A row each in `MESSAGES`: `subscription.hook-…`."""

    ADDRESS = "address"  # its name leads to an address that may not be called
    UNREACHABLE = "unreachable"  # no connection, no such name, or cut before the answer
    TIMEOUT = "timeout"
    STATUS = "status"  # an answer, and none of 200 to 299


class HookError(Exception):
    """The notification was not taken. It may have arrived nonetheless. `status`: where there was an answer."""

    def __init__(
        self, kind: HookFailure, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(kind.value, status)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class HookRequest:
    """One notification. `headers`: everything but the framing, which is the client's."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class HookClient(Protocol):
    """Never retries, follows no redirect, and reads nothing of an answer but its head."""

    async def post(self, request: HookRequest, *, timeout: float) -> int:  # noqa: ASYNC109 - one bound for all of it
        """The status, 200 to 299. Raises `HookError`."""
        ...
