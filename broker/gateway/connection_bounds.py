"""What one connection may cost: bytes of a head, time for a request to come and for its answer to go, and how many there
are.

aiohttp bounds neither how slowly a request comes nor how slowly its answer is taken: a connection that sends one byte a
minute, or reads none, holds its memory for as long as it likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp.http_exceptions import LineTooLong

from broker.errors import BrokerError, LimitError, RequestError

TAKEN: Final = 65_536
"""Bytes of an answer that a client takes in `answer_seconds` at least."""


def _nobody(_address: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Bytes: `line`, `header` (one), `head` (all of them). Seconds: for the head of a request, for its body, for `TAKEN`
    bytes of the answer, and without a request. `exempt`: addresses with any number of connections."""

    line: int = 65_536
    header: int = 65_536
    headers: int = 100
    head: int = 262_144
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 30.0
    idle_seconds: float = 75.0
    connections: int = 4_096
    of_an_address: int = 512
    exempt: Callable[[str], bool] = _nobody

    @property
    def of_the_parser(self) -> dict[str, int]:
        """The parser says of what is too long by which bound it is, and nothing else: so the two bounds differ."""
        header = self.header + 1 if self.header == self.line else self.header
        return {"max_line_size": self.line, "max_field_size": header, "max_headers": self.headers}

    def too_long(self, error: LineTooLong) -> RequestError:
        if error.args[1] == self.line:
            return RequestError("limit.line", limit=self.line)
        return RequestError("limit.header", limit=self.header)

    def too_many(self) -> RequestError:
        return RequestError("limit.headers", count=self.headers, limit=self.head)

    def slow_head(self) -> RequestError:
        return RequestError("limit.slow-head", limit=f"{self.head_seconds:g}")

    def slow_body(self) -> RequestError:
        return RequestError("limit.slow-body", limit=f"{self.body_seconds:g}")


@dataclass(slots=True)
class Census:
    """The connections that there are, by address."""

    bounds: ConnectionBounds
    _of: Counter[str] = field(default_factory=Counter)
    _all: int = 0
    refused: int = 0

    def enter(self, address: str) -> BrokerError | None:
        """Counts one more; or says why there is no room for it, and does not count it."""
        if self._all >= self.bounds.connections:
            limit = self.bounds.connections
        elif self._of[address] >= self.bounds.of_an_address and not self.bounds.exempt(address):
            limit = self.bounds.of_an_address
        else:
            self._of[address] += 1
            self._all += 1
            return None
        self.refused += 1
        return LimitError("limit.connections", retry_after=1, limit=limit)

    def leave(self, address: str) -> None:
        self._all -= 1
        self._of[address] -= 1
        if self._of[address] <= 0:
            del self._of[address]


@dataclass(slots=True)
class Owed:
    """An answer that waits for its client: since when, and how much that was."""

    since: float | None = None
    size: int = 0

    def stalls(self, size: int, now: float, seconds: float) -> bool:
        """`size`: bytes that wait now. Whether the client has taken too little for too long."""
        if size == 0:
            self.since = None
        elif self.since is None:
            self.since, self.size = now, size
        elif now - self.since >= seconds:
            if size > self.size - TAKEN:
                return True
            self.since, self.size = now, size
        return False
