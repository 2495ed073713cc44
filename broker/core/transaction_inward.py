"""A planned transaction as its manager is sent it (federation, section 1).

What the client wrote stays to the byte but for what names a resource: fullUrl, `request.url`, ids, conditions, references
(and the marks that the broker itself puts on what it shows, `write_meta`). An entry that is created goes by a `urn:`
fullUrl, its own or a new one, so that no server has to guess what `Patient/cds-patient-example` means, nor against which
address a relative reference is to be read. Entries keep their places; those of copies come last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from broker.core.condition import inward_condition
from broker.core.copies import to_json
from broker.core.copy_plan import CopyPlan, PlannedCopy
from broker.core.identity import Origin, is_alias, split_public_id
from broker.core.json_text import members
from broker.core.named_urn import urn_of
from broker.core.outcome import issue_of
from broker.core.references import reference_paths, with_references
from broker.core.resource_head import value_of, with_values
from broker.core.transaction_model import InnerReference, TransactionEntry, TransactionPlan
from broker.core.translation import Dialogue
from broker.core.write_meta import localised
from broker.errors import Issue, RefusedError, RequestError


@dataclass(frozen=True, slots=True)
class InwardTransaction:
    """`body`: the Bundle for the manager. `resources`: those of the client's entries, as the body has them.

    `copies`: how many entries follow the client's own.
    """

    body: bytes
    resources: tuple[bytes, ...]
    copies: int


def inward_transaction(
    plan: TransactionPlan, origin: Origin, aliases: Mapping[str, str], copies: CopyPlan | None = None
) -> InwardTransaction:
    """The Bundle for the manager `origin`.

    `aliases` resolves `plan.aliases`; `copies` is the plan for `plan.foreign(origin.slug)`. A copy that is the same
    resource as one of the client's entries (type and condition are the same) becomes that entry.

    Raises `RefusedError` transaction.failed, with every place that names what the manager cannot know: a resource of
    another one without a copy, an alias that nobody remembers.
    """
    transaction = plan.transaction
    copies = copies or CopyPlan()
    names = _Names(plan, origin, aliases, copies)
    resources = [names.resource(entry) for entry in transaction.entries]
    entries = [
        names.entry(entry, resource) for entry, resource in zip(transaction.entries, resources, strict=True)
    ]
    kept = _needed(
        names.references.values(), [one for one in copies.copies if one.full_url not in names.merged]
    )
    entries += [_copy(one, names.merged) for one in kept]
    if names.issues:
        raise RefusedError("transaction.failed", [Issue("transaction.failed"), *names.issues])
    body = with_values(transaction.raw, members(transaction.raw), {"entry": b"[" + b",".join(entries) + b"]"})
    return InwardTransaction(body, tuple(resources), len(kept))


class _Names:
    """What everything in one transaction is called at one manager.

    `urns`: fullUrls of what is created, by index. `merged`: copies' fullUrls that have become those of entries.
    `references`: what each reference that changes becomes, by its text: one text leads to one place wherever it stands.
    """

    def __init__(
        self, plan: TransactionPlan, origin: Origin, aliases: Mapping[str, str], copies: CopyPlan
    ) -> None:
        self._plan = plan
        self._origin = origin
        self._aliases = aliases
        self._dialogue = Dialogue(origin.slug, origin.region, origin.public_base, aliases)
        self._copies = copies
        self.issues: list[Issue] = []
        self.urns = _urns(plan)
        self.merged = _merged(plan, copies, self.urns)
        self.references = self._changed_references()

    def resource(self, entry: TransactionEntry) -> bytes:
        """As the manager is to have it."""
        local = None if entry.public_id is None else self._local(entry.public_id)
        if entry.public_id is not None and local is None:
            self.issues.append(Issue("request.not-found", {}, "error", (f"{entry.path}.request.url",)))
        return localised(with_references(entry.raw, self.references), self._origin, local)

    def entry(self, entry: TransactionEntry, resource: bytes) -> bytes:
        places = members(entry.text)
        changes = {
            "resource": resource,
            "request": self._request(entry, value_of(entry.text, places, "request") or b"{}"),
        }
        full_url = self._full_url(entry)
        if full_url is not None and full_url != entry.full_url:
            changes["fullUrl"] = orjson.dumps(full_url)
        return with_values(entry.text, places, changes)

    def _changed_references(self) -> dict[str, str]:
        changes: dict[str, str] = {}
        for reference in self._plan.transaction.references:
            new = self._changed(reference)
            if new is not None and new != reference.text:
                changes[reference.text] = new
        return changes

    def _changed(self, reference: InnerReference) -> str | None:
        """None where it stays, also because nobody knows what it should become, which is an issue."""
        if reference.condition is not None:
            return self._condition(reference.type, reference.condition, reference.path)
        if reference.public_id is not None:
            own = reference.slug == self._origin.slug
            new = self._own(reference, reference.public_id) if own else self._foreign(reference.text)
            if new is None:
                unknown = Issue("transaction.unknown-reference", {}, "error", (reference.path,))
                self.issues.append(unknown)
            return new
        if reference.target is None or reference.target in self.urns:
            return None if reference.target is None else self.urns[reference.target]
        target = self._plan.transaction.entries[reference.target]
        return None if reference.text.startswith("urn:") else self._url(target)

    def _own(self, reference: InnerReference, public_id: str) -> str | None:
        """With the manager's id; a base and a version stay what they are."""
        local = self._local(public_id)
        if local is None:
            return None
        before, _, after = reference.text.partition(reference.public)
        base = f"{self._origin.base_url}/" if before else ""
        return f"{base}{reference.type}/{local}{after}"

    def _foreign(self, text: str) -> str | None:
        stands = self._copies.references.get(text)
        return None if stands is None else self.merged.get(stands, stands)

    def _condition(self, kind: str, text: str, path: str) -> str | None:
        try:
            return inward_condition(kind, text, self._dialogue)
        except RequestError as error:
            issue = issue_of(error)
            self.issues.append(Issue(issue.key, issue.params, "error", (path,)))
            return None

    def _local(self, public_id: str) -> str | None:
        parts = split_public_id(public_id)
        if parts is None or parts[0] != self._origin.slug:
            return None
        if is_alias(public_id):
            return self._aliases.get(public_id)
        return parts[1]

    def _full_url(self, entry: TransactionEntry) -> str | None:
        if entry.public_id is None:
            return self.urns.get(entry.index)
        if entry.full_url is None or entry.full_url.startswith("urn:"):
            return entry.full_url
        return f"{self._origin.base_url}/{self._url(entry)}"

    def _url(self, entry: TransactionEntry) -> str:
        return entry.type if entry.public_id is None else f"{entry.type}/{self._local(entry.public_id)}"

    def _request(self, entry: TransactionEntry, text: bytes) -> bytes:
        changes = {"url": orjson.dumps(self._url(entry))}
        stated = self._plan.conditions[entry.index]
        if stated is not None:
            condition = self._condition(entry.type, stated, f"{entry.path}.request.ifNoneExist")
            changes["ifNoneExist"] = orjson.dumps(condition)
        return with_values(text, members(text), changes)


def _urns(plan: TransactionPlan) -> dict[int, str]:
    """The `urn:` fullUrls of what is created; an entry that came without one, and is not referred to, needs none.

    They are made from the text itself, so that no level of nested brokers makes what another one has made.
    """
    seed = hashlib.sha256(plan.transaction.raw).hexdigest()
    referred = {reference.target for reference in plan.transaction.references}
    urns: dict[int, str] = {}
    for entry in plan.transaction.entries:
        if entry.method == "PUT":
            continue
        if entry.full_url is not None and entry.full_url.startswith("urn:"):
            urns[entry.index] = entry.full_url
        elif entry.full_url or entry.index in referred or plan.conditions[entry.index] is not None:
            urns[entry.index] = urn_of(f"{seed}/{entry.index}".encode())
    return urns


def _merged(plan: TransactionPlan, copies: CopyPlan, urns: Mapping[int, str]) -> dict[str, str]:
    """Copies that the client's own entries make needless: two creations under one condition would both be made."""
    entries = {
        (entry.type, condition): entry.index
        for entry, condition in zip(plan.transaction.entries, plan.conditions, strict=True)
        if condition is not None
    }
    found = {copy.full_url: entries.get((copy.type, copy.criterion)) for copy in copies.copies}
    return {full_url: urns[index] for full_url, index in found.items() if index is not None}


def _needed(references: Iterable[str], copies: Sequence[PlannedCopy]) -> list[PlannedCopy]:
    """The copies that references lead to, directly or from copy to copy, in the order given."""
    at_hand = {copy.full_url: copy for copy in copies}
    pending = list(references)
    needed: set[str] = set()
    while pending:
        full_url = pending.pop()
        if full_url in at_hand and full_url not in needed:
            needed.add(full_url)
            pending += [text for _, text in reference_paths(at_hand[full_url].resource)]
    return [copy for copy in copies if copy.full_url in needed]


def _copy(copy: PlannedCopy, merged: Mapping[str, str]) -> bytes:
    body = with_references(to_json(copy.resource), merged)
    request = {"method": "POST", "url": copy.type, "ifNoneExist": copy.criterion}
    return b'{"fullUrl":%b,"resource":%b,"request":%b}' % (
        orjson.dumps(copy.full_url),
        body,
        orjson.dumps(request),
    )
