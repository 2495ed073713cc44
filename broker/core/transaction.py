"""Reading a transaction Bundle, and all that is wrong with it at once (cds.md, section 1, flux 1c and 4c).

Its parts: `transaction_model` what is read, `transaction_check` the rules of the whole, `transaction_references` where its
references lead; then `transaction_plan`, `transaction_inward` and `transaction_answer`, in the order of a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol

import msgspec

from broker.core import json_text
from broker.core.condition import read_condition
from broker.core.identity import split_public_id
from broker.core.messages import MESSAGES
from broker.core.outcome import issue_of
from broker.core.references import reference_paths
from broker.core.search_parameters import TYPES
from broker.core.transaction_check import Fault, fault, faults_of_whole
from broker.core.transaction_model import InnerReference, Transaction, TransactionEntry
from broker.core.transaction_references import Resolver
from broker.errors import Issue, RefusedError, RequestError

_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_SEVERE = frozenset({"error", "fatal"})


class CheckResource(Protocol):
    """What is wrong with a resource, errors and warnings; `path` is its FHIRPath in the Bundle."""

    def __call__(self, resource: dict[str, Any], *, path: str | None = None) -> Iterable[Issue]: ...


def read_transaction(
    bundle: Mapping[str, Any], raw: bytes, *, public_base: str, check_resource: CheckResource | None = None
) -> Transaction:
    """The transaction of a JSON body `raw`, parsed as `bundle`.

    Raises `RequestError` request.not-a-transaction or .bad-resource where there is none to speak of, and
    `RefusedError` transaction.failed with all faults of all entries, those of `check_resource` among them.
    """
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
        raise RequestError("request.not-a-transaction")
    listed = bundle.get("entry")
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise RequestError("request.bad-resource")
    text, texts = _texts(raw)
    if len(texts) != len(listed):
        raise RequestError("request.bad-resource")
    reading = _Reading(public_base.rstrip("/"), check_resource, list(faults_of_whole(bundle, listed)))
    entries = [reading.entry(index, entry, texts[index]) for index, entry in enumerate(listed)]
    references = reading.references(listed)
    if reading.faults:
        issues = [issue for _, issue in sorted(reading.faults, key=itemgetter(0))]
        raise RefusedError("transaction.failed", [Issue("transaction.failed"), *issues])
    kept = tuple(entry for entry in entries if entry is not None)
    return Transaction(text, kept, references, reading.warnings)


def _texts(raw: bytes) -> tuple[bytes, list[bytes]]:
    """The text of the Bundle, and of its entries. Raises `RequestError` request.bad-resource."""
    try:
        text = json_text.with_plain_keys(json_text.utf8(raw).strip())
        entry = next(place for place in json_text.members(text) if place.name == "entry")
        return text, [bytes(each) for each in _ENTRIES.decode(text[entry.start : entry.end])]
    except (json_text.JsonError, msgspec.DecodeError, StopIteration):
        raise RequestError("request.bad-resource") from None


@dataclass(slots=True)
class _Reading:
    """One Bundle being read; what is wrong with it is gathered."""

    public_base: str
    check_resource: CheckResource | None
    faults: list[Fault]
    warnings: dict[int, tuple[Issue, ...]] = field(default_factory=dict)

    def entry(self, index: int, stated: Mapping[str, Any], text: bytes) -> TransactionEntry | None:
        """None where it is at fault."""
        before = len(self.faults)
        resource, request = _object(stated, "resource"), _object(stated, "request")
        raw = self._resource_text(index, text)
        if "response" in stated:
            self._fault(index, ".response", "transaction.response")
        if not resource:
            self._fault(index, "", "request.missing-element", element="resource")
        method, where = request.get("method"), self._where(index, request)
        if where is not None and resource:
            self._check_body(index, resource, *where)
        if resource.get("resourceType") in TYPES:
            self._check_resource(index, resource)
        full_url = stated.get("fullUrl")
        if full_url is not None and (not isinstance(full_url, str) or not full_url):
            self._fault(index, ".fullUrl", "request.bad-resource")
        condition = self._condition(index, request, method, where)
        if len(self.faults) > before or where is None:
            return None
        return TransactionEntry(
            index,
            full_url,
            "PUT" if method == "PUT" else "POST",
            *where,
            resource,
            raw,
            text,
            if_match if isinstance(if_match := request.get("ifMatch"), str) else None,
            condition,
        )

    def references(self, listed: Sequence[Mapping[str, Any]]) -> tuple[InnerReference, ...]:
        """Where all references of all entries lead, those that do not matter left out."""
        resolver = Resolver(listed, self.public_base)
        found: list[InnerReference] = []
        for index, entry in enumerate(listed):
            for path, text in reference_paths(
                _object(entry, "resource"), path=f"Bundle.entry[{index}].resource"
            ):
                try:
                    resolved = resolver.resolve(index, path, text)
                except RequestError as error:
                    self._because(index, path, error)
                else:
                    found += [resolved] if resolved is not None else []
        return tuple(found)

    def _resource_text(self, index: int, text: bytes) -> bytes:
        try:
            for place in json_text.members(text):
                if place.name == "resource":
                    value = text[place.start : place.end]
                    json_text.members(value)
                    return value
        except json_text.JsonError:  # a member named twice, or no object
            self._fault(index, "", "request.bad-resource")
        return b""

    def _where(self, index: int, request: Mapping[str, Any]) -> tuple[str, str | None] | None:
        try:
            return _address(request, self.public_base)
        except RequestError as error:
            member = "method" if error.key == "transaction.method" else "url"
            self._because(index, f"Bundle.entry[{index}].request.{member}", error)
            return None

    def _check_body(self, index: int, resource: Mapping[str, Any], kind: str, public_id: str | None) -> None:
        if resource.get("resourceType") != kind:
            self._fault(index, ".resource", "request.wrong-type", type=kind)
        elif public_id is not None and resource.get("id") != public_id:
            self._fault(index, ".resource.id", "request.id-mismatch")

    def _check_resource(self, index: int, resource: dict[str, Any]) -> None:
        if self.check_resource is None:
            return
        issues = list(self.check_resource(resource, path=f"Bundle.entry[{index}].resource"))
        severe = [one for one in issues if (one.severity or MESSAGES[one.key].severity) in _SEVERE]
        self.faults += [(index, issue) for issue in severe]
        if len(severe) < len(issues):
            self.warnings[index] = tuple(issue for issue in issues if issue not in severe)

    def _condition(
        self, index: int, request: Mapping[str, Any], method: object, where: tuple[str, str | None] | None
    ) -> str | None:
        text = request.get("ifNoneExist")
        if method != "POST" or where is None or not isinstance(text, str):
            return None
        try:
            read_condition(where[0], text)
        except RequestError as error:
            self._because(index, f"Bundle.entry[{index}].request.ifNoneExist", error)
        return text

    def _fault(self, index: int, where: str, key: str, **params: str) -> None:
        self.faults.append(fault(index, where, key, **params))

    def _because(self, index: int, path: str, error: RequestError) -> None:
        issue = issue_of(error, severity="error")
        self.faults.append((index, Issue(issue.key, issue.params, "error", (path,))))


def _address(request: Mapping[str, Any], public_base: str) -> tuple[str, str | None]:
    """Type, and public id of a PUT. Raises `RequestError`."""
    method, url = request.get("method"), request.get("url")
    if method not in {"POST", "PUT"}:
        raise RequestError("transaction.method")
    kind, *rest = url.removeprefix(public_base).strip("/").split("/") if isinstance(url, str) else ("",)
    if kind not in TYPES:
        raise RequestError("request.unknown-type" if _TYPE.fullmatch(kind) else "transaction.url")
    if len(rest) != (1 if method == "PUT" else 0):
        raise RequestError("transaction.url")
    if rest and split_public_id(rest[0]) is None:
        raise RequestError("request.not-found")
    return kind, rest[0] if rest else None


def _object(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
