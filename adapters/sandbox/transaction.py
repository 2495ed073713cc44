"""Transactions: flux 1c and 4c of the guide (FHIR R4, http.html#transaction).

Three passes. Every entry is read and checked, conditions included, against the store as it was. Then the
references between entries are rewritten to the ids that the resources will have. Then everything is
performed, without a step that could fail. An error in the first two: nothing has changed, and all the errors
are told.

The guide's own example gives its entries `urn:uuid:` fullUrls but refers to them by the ids that they carry
(`Patient/cds-patient-example`). FHIR would look for those on the server; here they lead to the entry,
because nothing else can have been meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from adapters.sandbox import raw_json
from adapters.sandbox.writes import Planned, Writer, Written
from broker.core.outcome import issue_of
from broker.core.search_parameters import TYPES
from broker.errors import BrokerError, Issue, RequestError

_LINKS: Final = frozenset({"reference", "valueUri", "valueUrl", "valueOid", "valueUuid", "url", "uri", "div"})
"""Members that may hold a link to another entry: references, uris, and narratives (`href`, `src`)."""


class TransactionFailedError(Exception):
    """Nothing was changed. `issues` tell why, entry by entry."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__("transaction failed")
        self.issues = issues


@dataclass(slots=True)
class _Entry:
    """One request entry, on its way from what came to what is planned."""

    index: int
    full_url: str | None
    resource: bytes
    content: Mapping[str, Any]
    request: Mapping[str, Any]
    planned: Planned | None = None
    issues: list[Issue] = field(default_factory=list)

    def fail(self, error: BrokerError, path: str) -> None:
        issue = issue_of(error, severity="error")
        self.issues.append(replace(issue, expression=(f"Bundle.entry[{self.index}].{path}",)))


def run(body: bytes, writer: Writer, base: str) -> list[Written]:
    """Perform a transaction Bundle; what became of each entry, in their order.

    Raises `RequestError` request.bad-resource or .not-a-transaction where there is no transaction to speak
    of, `TransactionFailedError` for everything after that.
    """
    entries = _read(body)
    for entry in entries:
        try:
            entry.planned = _plan(entry, writer, base)
        except RequestError as error:
            entry.fail(error, "request" if error.key.startswith("transaction.") else "resource")
    _check_distinct(entries)
    links = _links(entries)
    planned = [_resolve(entry, links, writer) for entry in entries]
    issues = [issue for entry in entries for issue in entry.issues]
    if issues:
        raise TransactionFailedError([Issue("transaction.failed"), *issues])
    return [writer.perform(write) for write in planned if write is not None]


def _read(body: bytes) -> list[_Entry]:
    raw, bundle = raw_json.parse(body)
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
        raise RequestError("request.not-a-transaction")
    listed = bundle.get("entry", [])
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise RequestError("request.bad-resource")
    raws = msgspec.json.decode(raw_json.members(raw)["entry"], type=list[raw_json.Members])
    return [
        _Entry(
            index,
            full_url if isinstance(full_url := entry.get("fullUrl"), str) else None,
            bytes(raws[index].get("resource", b"null")),
            resource if isinstance(resource := entry.get("resource"), dict) else {},
            request if isinstance(request := entry.get("request"), dict) else {},
        )
        for index, entry in enumerate(listed)
    ]


def _plan(entry: _Entry, writer: Writer, base: str) -> Planned:
    method, url = entry.request.get("method"), entry.request.get("url")
    if method not in {"POST", "PUT"}:  # the profiles' invariant req-met
        raise RequestError("transaction.method")
    if not isinstance(url, str):
        raise RequestError("transaction.url")
    parts = url.removeprefix(base).strip("/").split("/")
    if parts[0] not in TYPES or len(parts) != (1 if method == "POST" else 2):
        raise RequestError("transaction.url")
    if method == "POST":
        return writer.plan_create(parts[0], entry.resource, _header(entry, "ifNoneExist"))
    return writer.plan_update(parts[0], parts[1], entry.resource, _header(entry, "ifMatch"))


def _header(entry: _Entry, name: str) -> str | None:
    value = entry.request.get(name)
    return value if isinstance(value, str) else None


def _check_distinct(entries: list[_Entry]) -> None:
    """No two entries may be about one resource, nor share a fullUrl."""
    seen: set[str] = set()
    for entry in entries:
        names = {entry.full_url} if entry.full_url else set()
        if entry.planned is not None:
            names.add(f"{entry.planned.type}/{entry.planned.id}")
        if names & seen:
            entry.fail(RequestError("transaction.duplicate"), "fullUrl")
        seen |= names


def _links(entries: list[_Entry]) -> dict[str, str]:
    """How entries may be referred to, and the references that will stand for it."""
    links: dict[str, str] = {}
    for entry in entries:
        if entry.planned is None:
            continue
        target = f"{entry.planned.type}/{entry.planned.id}"
        for name in _names(entry):
            links.setdefault(name, target)
    return links


def _names(entry: _Entry) -> Iterator[str]:
    if entry.full_url:
        yield entry.full_url
        if "://" in entry.full_url:
            yield "/".join(entry.full_url.rsplit("/", 2)[-2:])
    if entry.planned is not None and isinstance(entry.content.get("id"), str):
        yield f"{entry.planned.type}/{entry.content['id']}"


def _resolve(entry: _Entry, links: Mapping[str, str], writer: Writer) -> Planned | None:
    """The planned write with its references pointing to where they will lead; None if one leads nowhere."""
    if entry.planned is None or entry.planned.found is not None:
        return entry.planned

    def change(name: str, text: str) -> str:
        if name == "div":
            return _narrative(text, links)
        if name != "reference":
            return links.get(text, text) if text.startswith("urn:") else text
        if text in links:
            return links[text]
        if text.startswith("urn:uuid:"):
            raise RequestError("transaction.dangling")
        kind, separator, condition = text.partition("?")
        if separator and kind in TYPES:
            return _conditional(writer, kind, condition)
        return text

    try:
        return replace(entry.planned, raw=raw_json.rewrite(entry.planned.raw, _LINKS, change))
    except RequestError as error:
        entry.fail(error, "resource")
        return None


def _conditional(writer: Writer, kind: str, condition: str) -> str:
    """A conditional reference resolved. Raises transaction.unresolved unless exactly one resource matches."""
    try:
        found = writer.only_match(kind, condition)
    except RequestError as error:
        raise RequestError("transaction.unresolved") from error
    if found is None:
        raise RequestError("transaction.unresolved")
    return found.reference


def _narrative(div: str, links: Mapping[str, str]) -> str:
    for name, target in links.items():
        if name.startswith("urn:") and name in div:
            for attribute in ("href", "src"):
                div = div.replace(f'{attribute}="{name}"', f'{attribute}="{target}"')
    return div
