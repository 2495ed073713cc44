"""Search, read, vread and history: flux 2a and 2b of the guide (FHIR R4, http.html)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from itertools import takewhile

import orjson

from adapters.sandbox.exchange import FORM, Answer, Call, version_headers
from adapters.sandbox.listing import GETPAGES, PAGE, Listing, count_of, page_size
from adapters.sandbox.options import SandboxOptions
from adapters.sandbox.paging import Result
from adapters.sandbox.search import Searcher
from adapters.sandbox.statement import statement
from adapters.sandbox.store import Store, Version, fhir_instant
from adapters.sandbox.writes import names_version
from broker.core.fhir_dates import date_range, micros
from broker.core.query_parser import canonical_type, parse_search
from broker.core.query_values import is_id
from broker.errors import RequestError


def kind_of(call: Call) -> str:
    """The resource type in the path. Raises request.unknown-type."""
    kind = canonical_type(call.request.match_info["type"])
    if kind is None:
        raise RequestError("request.unknown-type")
    return kind


def identity_of(call: Call) -> str:
    """The id in the path. Raises request.not-found for what can be no id."""
    identity = call.request.match_info["id"]
    if not is_id(identity):
        raise RequestError("request.not-found")
    return identity


class Reading:
    def __init__(self, store: Store, *, version: str) -> None:
        self._store = store
        self._options = store.options
        self._version = version
        self._started = fhir_instant(store.clock.now())
        self._listing = Listing(store)

    async def metadata(self, call: Call) -> Answer:
        described = statement(self._options, base=call.base, started=self._started, version=self._version)
        return Answer(200, orjson.dumps(described))

    async def root(self, call: Call) -> Answer:
        """A page of a server that puts its page links on the base."""
        if call.parameter(GETPAGES) is None or not self._options.getpages_links:
            raise RequestError("request.method")
        return self._listing.follow_getpages(call)

    async def search(self, call: Call) -> Answer:
        kind = kind_of(call)
        if call.request.method == "POST" and call.request.content_type != FORM and call.request.body_exists:
            raise RequestError("request.content-type")
        token = call.parameter(PAGE)
        if token is not None:
            return self._listing.follow(call, token)
        pairs = [(name, value) for name, value in call.pairs if not _dropped(name, self._options)]
        query = parse_search(kind, pairs, strict=call.prefer.strict, max_count=self._options.max_page)
        found = Searcher(self._store, call.base).search(query)
        size = page_size(query, min(self._options.default_page, self._options.max_page))
        return self._listing.first(call, Result(kind, found, size, query), query.pairs())

    async def read(self, call: Call) -> Answer:
        version = self._store.current(kind_of(call), identity_of(call))
        return self._shown(call, version)

    async def vread(self, call: Call) -> Answer:
        wanted = call.request.match_info["vid"]
        versions = self._store.versions(kind_of(call), identity_of(call))
        return self._shown(call, next((v for v in versions if v.version_id == wanted), None))

    async def history_type(self, call: Call) -> Answer:
        kind = kind_of(call)
        return self._history(call, f"{kind}/_history", self._store.changes(kind))

    async def history_instance(self, call: Call) -> Answer:
        kind, identity = kind_of(call), identity_of(call)
        versions = self._store.versions(kind, identity)
        if not versions:
            raise RequestError("request.not-found")
        return self._history(call, f"{kind}/{identity}/_history", versions)

    def _history(self, call: Call, path: str, versions: Sequence[Version]) -> Answer:
        token = call.parameter(PAGE)
        if token is not None:
            return self._listing.follow(call, token)
        since, count = call.parameter("_since"), call.parameter("_count")
        used: list[tuple[str, str]] = []
        if since is None:
            found = list(reversed(versions))
        else:
            lowest = _lowest(since)
            # By their instants: who follows a manager asks for the last few, every other second.
            found = list(takewhile(lambda version: micros(version.instant) >= lowest, reversed(versions)))
            used.append(("_since", since))
        most = self._options.max_page
        size = count_of(count, default=min(self._options.default_page, most), most=most)
        if count is not None:
            used.append(("_count", str(size)))
        return self._listing.first(call, Result(path, found, size), used)

    def _shown(self, call: Call, version: Version | None) -> Answer:
        """A version, or 304 where the client has it. Raises request.not-found, request.deleted."""
        if version is None:
            raise RequestError("request.not-found")
        if version.deleted:
            raise RequestError("request.deleted")
        headers = version_headers(version)
        if _has_it(call, version):
            return Answer(304, headers=headers)
        return Answer(200, version.raw, headers | {"Content-Location": f"{call.base}/{version.location}"})


def _has_it(call: Call, version: Version) -> bool:
    """Conditional read (FHIR R4, http.html#cread): If-None-Match goes before If-Modified-Since (RFC 9110)."""
    none_match = call.request.headers.get("If-None-Match")
    if none_match is not None:
        return names_version(none_match, version)
    since = call.request.headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        known = parsedate_to_datetime(since)
    except ValueError:
        return False
    known = known.replace(tzinfo=dt.UTC) if known.tzinfo is None else known
    return version.instant.replace(microsecond=0) <= known


def _lowest(since: str) -> float:
    """The earliest instant that `_since` lets through (`fhir_dates.micros`). Raises request.bad-value."""
    searched = date_range(since.strip().replace(" ", "+"))
    if searched is None:
        raise RequestError("request.bad-value", parameter="_since", expected="YYYY-MM-DDThh:mm:ss(Z|±hh:mm)")
    return searched.low


def _dropped(name: str, options: SandboxOptions) -> bool:
    """Whether a handicap makes the server overlook a parameter."""
    written = name.strip()
    first = written.split(".")[0].split(":")[0]
    unseen = options.ignored_params
    if {written, first} & unseen:
        return True
    return (
        (options.ignores_include and first in {"_include", "_revinclude"})
        or (options.ignores_sort and first == "_sort")
        or (options.ignores_elements and first == "_elements")
    )
