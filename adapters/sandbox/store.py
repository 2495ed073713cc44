"""What a sandbox Gestionnaire holds, in memory: every version of every resource, and indexes to find them."""

from __future__ import annotations

import datetime as dt
import uuid
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from adapters.sandbox import raw_json
from adapters.sandbox.options import SandboxOptions
from broker.core.matching import elements
from broker.core.search_parameters import PARAMETERS, TYPES, ParamType, SearchParameter
from broker.core.value_tests import reference_text
from broker.errors import RequestError
from broker.ports import Clock

_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_REFERENCES: Final[Mapping[str, tuple[SearchParameter, ...]]] = {
    kind: tuple(p for p in PARAMETERS[kind].values() if p.type is ParamType.REFERENCE) for kind in TYPES
}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one resource. A deletion is a version too: `method` DELETE, no content."""

    type: str
    id: str
    number: int
    version_id: str
    instant: dt.datetime  # meta.lastUpdated, whole milliseconds, UTC
    method: str  # the write that made it: POST, PUT or DELETE
    raw: bytes = b""  # JSON as received, but for id and meta
    content: Mapping[str, Any] = field(default_factory=dict)  # the same, parsed

    @property
    def deleted(self) -> bool:
        return self.method == "DELETE"

    @property
    def reference(self) -> str:
        return f"{self.type}/{self.id}"

    @property
    def location(self) -> str:
        return f"{self.type}/{self.id}/_history/{self.version_id}"

    @property
    def etag(self) -> str:
        return f'W/"{self.version_id}"'


def fhir_instant(instant: dt.datetime) -> str:
    """An instant to the millisecond, in UTC."""
    return instant.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reference_key(text: str) -> str:
    """The `Type/id` that a reference ends with, whatever its server and version."""
    return "/".join(text.split("/_history/", maxsplit=1)[0].rsplit("/", 2)[-2:])


class Store:
    """One writer, no awaits: whatever a handler does between two awaits is atomic."""

    def __init__(self, clock: Clock, options: SandboxOptions | None = None) -> None:
        self.clock = clock
        self.options = options or SandboxOptions()
        self._versions: dict[tuple[str, str], list[Version]] = {}
        self._live: dict[str, dict[str, Version]] = {kind: {} for kind in TYPES}
        self._changes: dict[str, list[Version]] = {kind: [] for kind in TYPES}
        self._by_identifier: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._referring: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._newest = dt.datetime.min.replace(tzinfo=dt.UTC)

    # --- reading

    def current(self, kind: str, identity: str) -> Version | None:
        """The last version, which may be a deletion; None where the id was never used."""
        versions = self._versions.get((kind, identity))
        return versions[-1] if versions else None

    def versions(self, kind: str, identity: str) -> Sequence[Version]:
        """All versions, oldest first."""
        return self._versions.get((kind, identity), ())

    def live(self, kind: str) -> Mapping[str, Version]:
        """The current versions that are not deleted, by id."""
        return self._live[kind]

    def changes(self, kind: str) -> Sequence[Version]:
        """Every version of every resource of a type, oldest first."""
        return self._changes[kind]

    def with_identifier(self, kind: str, value: str) -> Iterable[str]:
        """Ids of the resources with an identifier of that value, under any system."""
        return self._by_identifier.get((kind, value.casefold()), ())

    def referring(self, kind: str, target: str) -> Iterable[str]:
        """Ids of the resources of a type that refer to `target` (`Type/id`) by some search parameter."""
        return self._referring.get((kind, target), ())

    # --- writing

    @staticmethod
    def new_id() -> str:
        return str(uuid.uuid4())

    def put(
        self, kind: str, identity: str, raw: bytes, *, method: str = "PUT", at: dt.datetime | None = None
    ) -> Version:
        """Add a version. `raw` is a JSON object of that type; `at` is for seeds, else the clock decides."""
        number = len(self._versions.get((kind, identity), ())) + 1
        version_id = str(uuid.uuid4()) if self.options.uuid_versions else str(number)
        instant = at or self._next_instant()
        stamped = raw_json.stamp(
            raw,
            identity=identity,
            version_id=version_id,
            last_updated=fhir_instant(instant),
            id_last=self.options.id_last,
        )
        content = orjson.loads(stamped)
        return self._add(Version(kind, identity, number, version_id, instant, method, stamped, content))

    def delete(self, kind: str, identity: str) -> Version:
        """Delete, leaving the history. Raises request.not-found; deleting twice changes nothing."""
        current = self.current(kind, identity)
        if current is None:
            raise RequestError("request.not-found")
        if current.deleted:
            return current
        number = current.number + 1
        version_id = str(uuid.uuid4()) if self.options.uuid_versions else str(number)
        return self._add(Version(kind, identity, number, version_id, self._next_instant(), "DELETE"))

    def load(self, resources: Iterable[Mapping[str, Any] | bytes]) -> int:
        """Take resources over as they are, with their ids and `meta.lastUpdated` where they have them.

        An id that comes again is the next version of the same resource, by `meta.lastUpdated`.
        Raises request.bad-resource for what is no resource of the guide's types. Returns how many there were.
        """
        loading: list[tuple[dt.datetime, str, str, bytes]] = []
        for resource in resources:
            raw, content = raw_json.parse(resource if isinstance(resource, bytes) else orjson.dumps(resource))
            kind = content.get("resourceType")
            if kind not in TYPES:
                raise RequestError("request.bad-resource")
            identity = content.get("id")
            at = _instant_of(content) or self._next_instant()
            loading.append((at, kind, identity if isinstance(identity, str) else self.new_id(), raw))
        for at, kind, identity, raw in sorted(loading, key=lambda entry: entry[:3]):
            self.put(kind, identity, raw, method="PUT" if self.current(kind, identity) else "POST", at=at)
        return len(loading)

    def _next_instant(self) -> dt.datetime:
        """Now, to the millisecond, and later than every version there is."""
        now = self.clock.now()
        whole = now - dt.timedelta(microseconds=now.microsecond % 1000)
        self._newest = max(whole, self._newest + _MILLISECOND)
        return self._newest

    def _add(self, version: Version) -> Version:
        key = (version.type, version.id)
        before = self._live[version.type].pop(version.id, None)
        if before is not None:
            self._unindex(before)
        self._versions.setdefault(key, []).append(version)
        insort(self._changes[version.type], version, key=lambda change: change.instant)
        self._newest = max(self._newest, version.instant)
        if not version.deleted:
            self._live[version.type][version.id] = version
            self._index(version)
        return version

    def _index(self, version: Version) -> None:
        for value in _identifier_values(version):
            self._by_identifier[version.type, value].add(version.id)
        for target in _targets(version):
            self._referring[version.type, target].add(version.id)

    def _unindex(self, version: Version) -> None:
        for value in _identifier_values(version):
            self._by_identifier[version.type, value].discard(version.id)
        for target in _targets(version):
            self._referring[version.type, target].discard(version.id)


def _identifier_values(version: Version) -> set[str]:
    identifiers = version.content.get("identifier")
    return {
        identifier["value"].casefold()
        for identifier in (identifiers if isinstance(identifiers, list) else (identifiers,))
        if isinstance(identifier, dict) and isinstance(identifier.get("value"), str)
    }


def _targets(version: Version) -> set[str]:
    texts = (
        reference_text(element)
        for parameter in _REFERENCES[version.type]
        for element in elements(version.content, parameter)
    )
    return {reference_key(text) for text in texts if text is not None}


def _instant_of(content: Mapping[str, Any]) -> dt.datetime | None:
    """`meta.lastUpdated` to the millisecond; None where it is absent or no instant."""
    meta = content.get("meta")
    text = meta.get("lastUpdated") if isinstance(meta, dict) else None
    try:
        instant = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if instant is None or instant.tzinfo is None:
        return None
    instant = instant.astimezone(dt.UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
