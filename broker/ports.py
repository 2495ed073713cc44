"""What the use cases ask of the world. Adapters implement these; tests run one contract suite over fake and real."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from broker.core.access.principal import Principal
from broker.core.audit.disclosure import Disclosure
from registry.model import Gestionnaire, Registered


class Clock(Protocol):
    """The only source of time (federation and adapters never call `datetime.now`)."""

    def now(self) -> dt.datetime:
        """The present instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds, for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class OnBehalf(msgspec.Struct, frozen=True):
    """For whom a manager is asked, and in which of their requests."""

    principal: Principal
    request_id: str


class ManagerRequest(msgspec.Struct, frozen=True):
    """One HTTP exchange with a manager, in that manager's own ids.

    `target` is a path relative to the manager's base (`CareTeam/_search`, `CareTeam/12`, `` for the base itself), or
    an absolute URL that the caller took from this manager's own links: the client refuses one outside the base.
    `form` makes an `application/x-www-form-urlencoded` body (POST _search); `query` goes in the URL. `on_behalf`: set for
    managers that want to know (`Gestionnaire.identity`); None: the broker asks for itself.
    """

    method: str
    target: str
    query: Sequence[tuple[str, str]] = ()
    form: Sequence[tuple[str, str]] | None = None
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    on_behalf: OnBehalf | None = None


class ManagerAnswer(msgspec.Struct, frozen=True):
    """What came back, in full. Header names are lower-case. `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class ManagerClient(Protocol):
    """HTTP towards managers. Judges no status: a 404 is an answer. Never retries, never follows a redirect."""

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        """Send and read the whole answer within `timeout` seconds.

        Raises `ManagerError` of kind timeout, unreachable, too-large, invalid (undecodable content coding), redirect (3xx,
        or `target` outside the manager's base), and with nothing sent: credentials, address.
        """
        ...


class Managers(Protocol):
    """The registry as the running broker sees it: in memory, kept fresh in the background, never awaited."""

    def all(self) -> Sequence[Registered]: ...

    def get(self, slug: str) -> Registered | None: ...


class CursorStore(Protocol):
    """Short-lived sealed page states, shared by every node. Raises `StoreError`."""

    async def save(self, blobs: Mapping[str, bytes], *, seconds: int) -> None:
        """All of them in one exchange; some may be kept where it fails."""
        ...

    async def load(self, key: str) -> bytes | None: ...


class AliasStore(Protocol):
    """Long public ids: alias ↔ the manager's own id, kept for good. Raises `StoreError`."""

    async def remember(self, aliases: Mapping[str, str]) -> None: ...

    async def resolve(self, alias: str) -> str | None: ...


class Disclosures(Protocol):
    """The trail of what synchronisation hands over."""

    async def told(self, disclosures: Sequence[Disclosure]) -> bool:
        """Whether all are in the trail. False: they must not be sent yet."""
        ...


class Leases(Protocol):
    """Work that one node at a time does. Raises `StoreError`."""

    async def take(self, name: str, *, seconds: int) -> bool:
        """True for whoever gets it; it ends by itself after `seconds`."""
        ...

    async def give_back(self, name: str) -> None: ...
