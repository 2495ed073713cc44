"""A transaction as data: its entries, what they refer to, and where it has to go (cds.md, section 1, flux 1c and 4c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.core.identity import is_alias, split_public_id
from broker.errors import Issue


@dataclass(frozen=True, slots=True)
class TransactionEntry:
    """One request. `raw` is the text of the resource, `resource` the same as a tree; both in public terms.

    `text` is that of the whole entry, in which `raw` stands.
    `public_id` is that of `request.url`, for PUT alone. `if_match` and `if_none_exist` are as the client wrote them.
    """

    index: int
    full_url: str | None
    method: Literal["POST", "PUT"]
    type: str
    public_id: str | None
    resource: Mapping[str, Any]
    raw: bytes
    text: bytes
    if_match: str | None = None
    if_none_exist: str | None = None

    @property
    def path(self) -> str:
        return f"Bundle.entry[{self.index}]"

    @property
    def slug(self) -> str | None:
        """The manager that a PUT goes to; None for POST."""
        return _slug(self.public_id)


@dataclass(frozen=True, slots=True)
class InnerReference:
    """A reference in a resource of the transaction that leads somewhere the broker knows of.

    `path` is the FHIRPath of the Reference in the Bundle, `entry` the index of the entry that holds it, `text` what
    the client wrote. It leads to an entry (`target`, its index), to a resource of the federation (`type` and
    `public_id`; to both where that resource is what a PUT updates), or to whatever meets a condition (`condition`,
    the text once more).
    """

    entry: int
    path: str
    text: str
    target: int | None = None
    type: str = ""
    public_id: str | None = None
    condition: str | None = None

    @property
    def slug(self) -> str | None:
        """The manager of a public resource."""
        return _slug(self.public_id)

    @property
    def public(self) -> str:
        """`Type/public id`, without base and version; empty where it leads to no public resource."""
        return f"{self.type}/{self.public_id}" if self.public_id is not None else ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction Bundle that keeps the rules. `raw` is its whole text, in UTF-8, keys unescaped.

    `warnings` are those of the check of the resources, by index of the entry.
    """

    raw: bytes
    entries: tuple[TransactionEntry, ...]
    references: tuple[InnerReference, ...]
    warnings: Mapping[int, tuple[Issue, ...]]

    @property
    def circles(self) -> tuple[TransactionEntry, ...]:
        return tuple(entry for entry in self.entries if entry.type == "CareTeam")


@dataclass(frozen=True, slots=True)
class Circle:
    """A CareTeam of a transaction, and how its subject is referred to: by at most one of the last three.

    `patient`: the entry that is the Patient; `patient_id`: the public id (also where an entry updates it);
    `condition`: `Patient?…`, left to the manager.
    """

    entry: TransactionEntry
    created: bool
    patient: TransactionEntry | None = None
    patient_id: str | None = None
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class TransactionPlan:
    """Where a transaction has to go.

    `target`: the one manager whose resources are updated; None where all is created, so that the home is to be
    chosen. `referenced`: the managers of all public resources that are referred to, in order of appearance.
    `conditions`: the `ifNoneExist` of each entry, the client's own or the broker's. `circle` is the circle that is
    created, else the first one that is updated.
    """

    transaction: Transaction
    target: str | None
    referenced: tuple[str, ...]
    circle: Circle | None
    conditions: tuple[str | None, ...]
    conditional_ids: tuple[str, ...]

    def foreign(self, home: str) -> tuple[InnerReference, ...]:
        """References to resources of other managers than `home`: they need a copy there."""
        return tuple(one for one in self.transaction.references if one.slug not in {None, home})

    @property
    def aliases(self) -> frozenset[str]:
        """Public ids that stand for long ones: to be resolved before `inward_transaction`."""
        named = [entry.public_id for entry in self.transaction.entries]
        named += [reference.public_id for reference in self.transaction.references]
        return frozenset(one for one in (*named, *self.conditional_ids) if one is not None and is_alias(one))


def _slug(public_id: str | None) -> str | None:
    parts = split_public_id(public_id) if public_id is not None else None
    return parts[0] if parts is not None else None
