"""What a write must satisfy, and what it does: shared by single requests and transactions.

Checks come first and change nothing; `perform` cannot fail. A transaction makes all checks of all its entries
and only then performs, which is what makes it atomic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from adapters.sandbox import raw_json
from adapters.sandbox.profiles import check_profile
from adapters.sandbox.search import Searcher
from adapters.sandbox.store import Store, Version
from broker.core.query_parser import parse_search
from broker.core.query_values import is_id
from broker.errors import RequestError

_ETAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Planned:
    """A write that has passed its checks. `found` is the resource that makes a create needless."""

    type: str
    id: str
    method: str
    raw: bytes = b""
    found: Version | None = None


@dataclass(frozen=True, slots=True)
class Written:
    version: Version
    status: int  # 201 created, 200 updated, or found by a conditional create


class Writer:
    """Writes of one request."""

    def __init__(self, store: Store, searcher: Searcher) -> None:
        self._store = store
        self._searcher = searcher

    def plan_create(self, kind: str, body: bytes, if_none_exist: str | None) -> Planned:
        """Raises request.bad-resource, .wrong-type, .missing-element, and as `only_match` does."""
        raw = self._checked(kind, body)[0]
        found = self.only_match(kind, if_none_exist) if if_none_exist is not None else None
        if found is None:
            self._check_unique(kind, None, raw)
        return Planned(kind, found.id if found else self._store.new_id(), "POST", raw, found)

    def plan_update(self, kind: str, identity: str, body: bytes, if_match: str | None) -> Planned:
        """Raises as `plan_create`, and request.bad-id, .id-mismatch, .precondition."""
        raw, content = self._checked(kind, body)
        if not is_id(identity):
            raise RequestError("request.bad-id")
        if content.get("id") != identity:
            raise RequestError("request.id-mismatch")
        if if_match is not None:
            current = self._store.current(kind, identity)
            if current is None or current.deleted or not names_version(if_match, current):
                raise RequestError("request.precondition")
        self._check_unique(kind, identity, raw)
        return Planned(kind, identity, "PUT", raw)

    def perform(self, planned: Planned) -> Written:
        if planned.found is not None:
            return Written(planned.found, 200)
        before = self._store.current(planned.type, planned.id)
        version = self._store.put(planned.type, planned.id, planned.raw, method=planned.method)
        return Written(version, 201 if before is None or before.deleted else 200)

    def only_match(self, kind: str, condition: str) -> Version | None:
        """The one resource that a condition (`identifier=…|…`) finds.

        Raises request.several-matches, request.bad-condition for one that holds no criterion, and what the
        parser raises: a condition is never applied in part.
        """
        pairs = parse_qsl(condition.partition("?")[2] or condition, keep_blank_values=True)
        query = parse_search(kind, pairs, strict=True)
        if not query.criteria:
            raise RequestError("request.bad-condition")
        found = self._searcher.matching(kind, query.criteria)
        if len(found) > 1:
            raise RequestError("request.several-matches")
        return found[0] if found else None

    def _checked(self, kind: str, body: bytes) -> tuple[bytes, dict[str, Any]]:
        raw, content = raw_json.parse(body)
        if content.get("resourceType") != kind:
            raise RequestError("request.wrong-type", type=kind)
        if self._store.options.check_profiles:
            check_profile(kind, content)
        return raw, content

    def _check_unique(self, kind: str, identity: str | None, raw: bytes) -> None:
        """The profile's rule of one circle per person, where the options ask for it."""
        if not self._store.options.one_circle_per_person or kind != "CareTeam":
            return
        subject = raw_json.parse(raw)[1].get("subject")
        reference = subject.get("reference") if isinstance(subject, dict) else None
        if isinstance(reference, str) and set(self._store.referring(kind, reference)) - {identity}:
            raise RequestError("request.second-circle")


def names_version(header: str, version: Version) -> bool:
    """Whether an `If-Match` or `If-None-Match` list names a version; `*` names any."""
    return header.strip() == "*" or version.version_id in _ETAG.findall(header)
