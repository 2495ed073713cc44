"""The request that is being done: its id for whatever is logged meanwhile, and what is told of it once it is answered."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

CURRENT: Final[ContextVar[str | None]] = ContextVar("cds_request_id", default=None)
"""The X-Request-Id of the request on whose behalf this task runs; tasks that it starts inherit it."""

LEFT: Final = 499
"""The status of a request whose client left before the answer; nobody is sent it."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request and how it ended. `route`: its template, `-` where none takes it; never its path or query. `method`:
    `other` where HTTP does not define it. `seconds`: until the answer was ready to be sent. `client`: None where nobody was
    recognised, and `how` then is `nobody`. `reason`: key of the text that the refusal was told with."""

    method: str
    route: str
    status: int
    seconds: float
    request_id: str | None
    client: str | None = None
    how: str = "nobody"
    reason: str | None = None
