"""What the resources of a transaction refer to (FHIR R4, bundle.html#references, http.html#trules).

An entry is referred to by its fullUrl, or relative to the address of the entry that holds the reference. The guide's own
example gives its entries `urn:uuid:` fullUrls and refers to them by the ids that they carry
(`Patient/cds-patient-example`): FHIR would look for those on the server; here they lead to the entry, because nothing else
can have been meant (cds.md, section 5). All else that is relative must be a public id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from broker.core.condition import read_condition
from broker.core.identity import split_public_id
from broker.core.references import named_by
from broker.core.search_parameters import TYPES
from broker.core.transaction_check import method_of
from broker.core.transaction_model import InnerReference
from broker.errors import RequestError

_TAIL = re.compile(r".*/([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})")
_URN = ("urn:uuid:", "urn:oid:")


def names_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How each entry may be referred to → its index: by fullUrl, by the id it carries, relative to its fullUrl.

    Entries are as the client wrote them, faulty or not: a fault of one is no fault of those that refer to it.
    """
    by_full_url: dict[str, int] = {}
    by_id: dict[str, int] = {}
    by_tail: dict[str, int] = {}
    for index, entry in enumerate(entries):
        full_url, resource = entry.get("fullUrl"), entry.get("resource")
        if isinstance(full_url, str) and full_url:
            by_full_url.setdefault(full_url, index)
            if tail := _TAIL.fullmatch(full_url):
                by_tail.setdefault(tail[1], index)
        if isinstance(resource, dict) and isinstance(resource.get("id"), str):
            by_id.setdefault(f"{resource.get('resourceType')}/{resource['id']}", index)
    return {**by_tail, **by_id, **by_full_url}


class Resolver:
    """Finds out where references lead. Entries as for `names_of`; `public_base` without a slash at its end."""

    def __init__(self, entries: Sequence[Mapping[str, Any]], public_base: str) -> None:
        self._names = names_of(entries)
        self._updated = {index for index, entry in enumerate(entries) if method_of(entry) == "PUT"}
        self._base = public_base + "/"

    def resolve(self, entry: int, path: str, text: str) -> InnerReference | None:
        """None where it leads to nothing that the broker knows of: a contained resource, an address elsewhere.

        Raises `RequestError`: transaction.dangling, .unknown-reference, and what `read_condition` does.
        """
        own = text.removeprefix(self._base)
        target = self._names.get(text, self._names.get(own))
        if target is not None and target not in self._updated:
            return InnerReference(entry, path, text, target)
        named = named_by(own, "")
        if named is not None and split_public_id(named.public_id) is not None:
            return InnerReference(entry, path, text, target, named.type, named.public_id)
        if target is not None:
            return InnerReference(entry, path, text, target)
        if named is not None:
            raise RequestError("transaction.unknown-reference")
        if text.startswith(_URN):
            raise RequestError("transaction.dangling")
        kind, mark, condition = own.partition("?")
        if mark and kind in TYPES:
            read_condition(kind, condition)
            return InnerReference(entry, path, text, type=kind, condition=own)
        return None
