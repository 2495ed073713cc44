"""The stores in memory, with the faults that tests ask for. One suite holds them to the real ones' ways."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec

from broker.errors import RequestError, StoreError
from registry.model import Gestionnaire, Registered, Skills
from registry.versions import Version, next_version, removal


class ManualClock:
    """Time that passes when a test says so. `sleep` returns once `advance` has gone that far."""

    def __init__(self, start: dt.datetime | None = None) -> None:
        self._now = start or dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> dt.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._sleepers.append((self._monotonic + seconds, event))
        await event.wait()

    @property
    def waiting(self) -> int:
        """How many sleep."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        self._now += dt.timedelta(seconds=seconds)
        self._monotonic += seconds
        for due, event in self._sleepers:
            if due <= self._monotonic:
                event.set()
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].is_set()]


class FakeGestionnaireStore:
    """`GestionnaireStore` in memory. `down`: every call fails, and who listens hears when it is up again."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self._down = False
        self._versions: dict[str, list[Version]] = {}
        self._skills: dict[str, Skills] = {}
        self._listeners: set[asyncio.Queue[None]] = set()

    @property
    def down(self) -> bool:
        return self._down

    @down.setter
    def down(self, value: bool) -> None:
        came_back = self._down and not value
        self._down = value
        if came_back:
            self._tell()

    async def all(self) -> Sequence[Registered]:
        self._check()
        return [self._shown(slug) for slug in sorted(self._versions) if not self._versions[slug][0].removed]

    async def get(self, slug: str) -> Registered | None:
        return next((one for one in await self.all() if one.gestionnaire.id == slug), None)

    async def put(self, gestionnaire: Gestionnaire, *, expected_revision: int | None = None) -> Registered:
        slug = gestionnaire.id
        new = next_version(self._head(slug), gestionnaire, expected_revision, self._now())
        if new is not None:
            for other in await self.all():
                if other.gestionnaire.base_url == gestionnaire.base_url and other.gestionnaire.id != slug:
                    raise RequestError("registry.same-address", slug=slug, other=other.gestionnaire.id)
            before = self._head(slug)
            if before is None or before.registered.gestionnaire.base_url != gestionnaire.base_url:
                self._skills.pop(slug, None)
            self._versions.setdefault(slug, []).insert(0, Version(new))
            self._tell()
        return self._shown(slug)

    async def remove(self, slug: str) -> bool:
        gone = removal(self._head(slug), self._now())
        if gone is None:
            return False
        self._versions[slug].insert(0, gone)
        self._skills.pop(slug, None)
        self._tell()
        return True

    async def save_skills(self, slug: str, skills: Skills) -> None:
        if await self.get(slug) is not None:
            self._skills[slug] = skills
            self._tell()

    async def history(self, slug: str) -> Sequence[tuple[Registered, bool]]:
        self._check()
        return [(version.registered, version.removed) for version in self._versions.get(slug, [])[:50]]

    async def known_slugs(self) -> Sequence[str]:
        self._check()
        return sorted(self._versions)

    async def changes(self) -> AsyncGenerator[None]:
        queue: asyncio.Queue[None] = asyncio.Queue()
        queue.put_nowait(None)
        self._listeners.add(queue)
        try:
            while True:
                await queue.get()
                yield
        finally:
            self._listeners.discard(queue)

    def _check(self) -> None:
        if self._down:
            raise StoreError("federation.store")

    def _head(self, slug: str) -> Version | None:
        self._check()
        versions = self._versions.get(slug)
        return versions[0] if versions else None

    def _shown(self, slug: str) -> Registered:
        return msgspec.structs.replace(self._versions[slug][0].registered, skills=self._skills.get(slug))

    def _tell(self) -> None:
        for queue in self._listeners:
            queue.put_nowait(None)

    def _now(self) -> str:
        return self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _FakeBlobs:
    """What expires by itself, in memory. `down`: every call fails."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.down = False
        self.blobs: dict[str, tuple[float, bytes]] = {}

    def _keep(self, blobs: Mapping[str, bytes], seconds: int) -> None:
        if self.down:
            raise StoreError("federation.store")
        until = self.clock.monotonic() + seconds
        self.blobs.update({key: (until, blob) for key, blob in blobs.items()})

    async def load(self, key: str) -> bytes | None:
        if self.down:
            raise StoreError("federation.store")
        until, blob = self.blobs.get(key, (0.0, b""))
        return blob if self.clock.monotonic() < until else None


class FakeCursorStore(_FakeBlobs):
    """`CursorStore` in memory."""

    async def save(self, blobs: Mapping[str, bytes], *, seconds: int) -> None:
        self._keep(blobs, seconds)


class FakeSessions(_FakeBlobs):
    """`SessionStore` in memory."""

    async def save(self, key: str, blob: bytes, *, seconds: int) -> None:
        self._keep({key: blob}, seconds)

    async def replace(self, key: str, blob: bytes) -> bool:
        if await self.load(key) is None:
            return False
        self.blobs[key] = (self.blobs[key][0], blob)
        return True

    async def touch(self, key: str, *, seconds: int) -> None:
        blob = await self.load(key)
        if blob is not None:
            self._keep({key: blob}, seconds)

    async def remove(self, key: str) -> None:
        if self.down:
            raise StoreError("federation.store")
        self.blobs.pop(key, None)


class FakeAliasStore:
    """`AliasStore` in memory. `down`: every call fails."""

    def __init__(self) -> None:
        self.down = False
        self.aliases: dict[str, str] = {}

    async def remember(self, aliases: Mapping[str, str]) -> None:
        if self.down:
            raise StoreError("federation.store")
        self.aliases.update(aliases)

    async def resolve(self, alias: str) -> str | None:
        if self.down:
            raise StoreError("federation.store")
        return self.aliases.get(alias)
