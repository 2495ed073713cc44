"""What moves between the rooms of a write (federation, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from broker.core.identity import Origin
from broker.core.sealing import Sealer
from broker.errors import Issue
from broker.federation.manager_calls import ManagerCalls
from registry.locator_model import Identifier


class Replay(msgspec.Struct, frozen=True, array_like=True):
    """An Idempotency-Key that a request holds: its digest, and whose turn it is."""

    key: bytes
    owner: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A write as a client asked for it. `body` is its JSON, `content` the same as a tree; both in public terms.

    `stated_home`: X-Gestionnaire. `if_match`, `if_none_exist`: as they came. `warnings` go with the answer. `replay`: the
    Idempotency-Key that this request holds.
    """

    type: str
    body: bytes
    content: dict[str, Any]
    stated_home: str | None = None
    if_match: str | None = None
    if_none_exist: str | None = None
    warnings: tuple[Issue, ...] = ()
    replay: Replay | None = None


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """What a write is answered with: FHIR JSON (or nothing) in public terms. Header names in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The manager that a write goes to."""

    calls: ManagerCalls
    origin: Origin

    @property
    def slug(self) -> str:
        return self.origin.slug


@dataclass(frozen=True, slots=True)
class Claim:
    """Names that are ours until the write is done, and the token that proves it. No names: nothing to hold."""

    names: tuple[bytes, ...] = ()
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a circle is for: every identifier known of the subject, and what leads to it, `Patient/{public id}`.

    `circle`: the business identifiers of the circle itself.
    """

    identifiers: tuple[Identifier, ...] = ()
    references: tuple[str, ...] = ()
    circle: tuple[Identifier, ...] = ()


class Step(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """One resource that a write makes or changes: enough to find out afterwards whether it did.

    An update knows the manager's id and the version before; a creation is known by its business identifier, where it
    has one. `content` is the digest of what was sent (`content_digest`), `loose` where its references are left out of it:
    in a transaction they may lead to what has no id yet.
    """

    type: str
    local_id: str | None = None
    before: str | None = None
    identifier: Identifier | None = None
    content: bytes = b""
    loose: bool = False


class Intent(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """A write that is about to be sent, as it is kept until its end is known.

    `witness` is the step whose fate tells that of all (a manager does all or nothing). `replay`: the Idempotency-Key that
    waits for it. `absent`: looks that found nothing. `bundle`: it is a transaction. `trace`: `traceparent` of the request.
    """

    manager: str
    steps: tuple[Step, ...]
    witness: int = 0
    replay: Replay | None = None
    absent: int = 0
    bundle: bool = False
    trace: str | None = None


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """What the winner of a claim leaves for those who waited: the circle that there is now."""

    public_id: str
    home: str


_INTENT, _MARKER = "intent", "marker"
_decode_intent = msgspec.msgpack.Decoder(Intent).decode
_decode_marker = msgspec.msgpack.Decoder(Marker).decode
_encode = msgspec.msgpack.Encoder().encode


def seal_intent(sealer: Sealer, intent: Intent) -> bytes:
    return sealer.seal(_INTENT, _encode(intent))


def open_intent(sealer: Sealer, sealed: bytes) -> Intent | None:
    """None for one that was sealed with a secret that is not at hand."""
    plain = sealer.open(_INTENT, sealed)
    return None if plain is None else _decode_intent(plain)


def seal_marker(sealer: Sealer, marker: Marker) -> bytes:
    return sealer.seal(_MARKER, _encode(marker))


def open_marker(sealer: Sealer, sealed: bytes) -> Marker | None:
    plain = sealer.open(_MARKER, sealed)
    return None if plain is None else _decode_marker(plain)


_UNCOUNTED = frozenset({"id", "meta", "text"})
"""What managers set or make themselves: it does not tell one content from another."""


def comparable(content: Mapping[str, Any], *, loose: bool = False) -> bytes:
    """A resource's content in one form, whatever order its members came in. `loose`: without what its references name."""
    kept = {name: value for name, value in content.items() if name not in _UNCOUNTED}
    if loose:
        kept = _without_references(kept)
    return orjson.dumps(kept, default=str, option=orjson.OPT_SORT_KEYS)


def _without_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_references(one) for name, one in value.items() if name != "reference"}
    return [_without_references(one) for one in value] if isinstance(value, list) else value


def usable(identifiers: Sequence[tuple[str | None, str]]) -> tuple[Identifier, ...]:
    """Business identifiers that can be searched for: with a system, each once."""
    return tuple(dict.fromkeys((system, value) for system, value in identifiers if system and value))


def stated_identifiers(stated: object) -> list[Identifier]:
    """(system, value) of the Identifiers of a tree, those without either left out."""
    each = stated if isinstance(stated, list) else []
    found = [(one.get("system"), one.get("value")) for one in each if isinstance(one, dict)]
    return [
        (system, value)
        for system, value in found
        if isinstance(system, str) and isinstance(value, str) and system and value
    ]
