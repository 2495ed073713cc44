"""A manager's transaction-response: read against what was asked, and written in public terms (FHIR R4, http.html#trules).

A manager may tell what it wrote by `response.location`, by the resource or by its fullUrl; the guide asks for no more than
one of them. Here each entry gets all that is known. The answer must be about the very entries that were sent, in their
order: what is not can be trusted in nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import orjson

from broker.core import json_text
from broker.core.entry import Entry
from broker.core.identity import ID, Origin, public_id
from broker.core.outcome import Language, outcome
from broker.core.preferences import Return
from broker.core.reported import entry_of, refusals, remarks
from broker.core.resource_head import EntryError, Restater
from broker.core.rewriting import outward
from broker.core.transaction_model import Transaction, TransactionEntry
from broker.errors import FailureKind, Issue, ManagerError
from registry.model import REGIONS, Gestionnaire

_NOTHING = msgspec.Raw()
# Whatever stands before: managers behind a proxy often name themselves by an address of their own.
_PLACE = re.compile(
    r"(?:.*/)?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?", re.DOTALL
)
_ETAG = re.compile(r'(?:W/)?"([A-Za-z0-9\-.]{1,64})"')
_DONE = re.compile(r"20[01]\b")


class _Response(msgspec.Struct, rename="camel", gc=False):
    status: str = ""
    location: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    outcome: msgspec.Raw = _NOTHING


class _Answered(msgspec.Struct, rename="camel", gc=False):
    resource: msgspec.Raw = _NOTHING
    full_url: str | None = None
    response: _Response | None = None


class _Bundle(msgspec.Struct, rename="camel", gc=False):
    resource_type: Literal["Bundle"]
    type: Literal["transaction-response"]
    entry: list[_Answered] = []


_decode = msgspec.json.Decoder(_Bundle).decode


@dataclass(frozen=True, slots=True)
class WrittenEntry:
    """What became of one entry. `status` as the manager put it (`201 Created`).

    `version_id`, `etag` and `last_modified` (an instant) are the manager's own, None where it did not say.
    `resource`: as it is now, in public terms, where the manager showed it. `remarks`: the manager's own words.
    """

    index: int
    type: str
    local_id: str
    public_id: str
    status: str
    version_id: str | None
    etag: str | None
    last_modified: str | None
    resource: Entry | None = None
    remarks: tuple[Issue, ...] = ()

    @property
    def created(self) -> bool:
        return self.status.startswith("201")

    @property
    def reference(self) -> str:
        """`Type/public id`."""
        return f"{self.type}/{self.public_id}"


def read_transaction_answer(
    body: bytes,
    transaction: Transaction,
    origin: Origin,
    aliases: dict[str, str],
    *,
    copies: int = 0,
    origins: Iterable[Origin] = (),
) -> tuple[WrittenEntry, ...]:
    """What the manager did, entry by entry of the client's; those of the `copies` at the end are cut off.

    Aliases made are added to `aliases`; `origins`: see `Restater`. Raises `ManagerError` (invalid).
    """
    try:
        answered = _decode(outward(json_text.utf8(body), origin, aliases)).entry
    except (msgspec.DecodeError, RecursionError, json_text.JsonError) as error:
        raise _invalid(origin) from error
    if len(answered) != len(transaction.entries) + copies:
        raise _invalid(origin)
    reader = _Reader(origin, aliases, Restater(origin, aliases, None, origins))
    return tuple(
        reader.written(asked, one) for asked, one in zip(transaction.entries, answered, strict=False)
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    origin: Origin
    aliases: dict[str, str]
    restater: Restater

    def written(self, asked: TransactionEntry, answered: _Answered) -> WrittenEntry:
        response = answered.response
        if response is None or _DONE.match(response.status) is None:
            raise _invalid(self.origin)
        shown, words = self._shown(answered, bytes(response.outcome))
        local, version = self._place(asked, answered, response, shown)
        version = version or _version(response, shown)
        etag = response.etag or (f'W/"{version}"' if version else None)
        return WrittenEntry(
            asked.index,
            asked.type,
            local,
            public_id(self.origin.slug, local, self.aliases),
            response.status,
            version,
            etag,
            response.last_modified or (shown.last_updated if shown else None),
            shown,
            tuple(remarks(words, self._who())),
        )

    def _shown(self, answered: _Answered, words: bytes) -> tuple[Entry | None, bytes]:
        """The resource, and the manager's own outcome, which some servers put in the resource's place.

        A resource that cannot be used is left out: that it was written is known from the rest.
        """
        raw = bytes(answered.resource)
        if not raw or raw == b"null":
            return None, words
        try:
            entry = self.restater.restate(raw)
        except EntryError:
            return None, words
        return (None, words or raw) if entry.mode == "outcome" else (entry, words)

    def _place(
        self, asked: TransactionEntry, answered: _Answered, response: _Response, shown: Entry | None
    ) -> tuple[str, str | None]:
        """The manager's id, and the version where an address holds it. All that it says of them must agree."""
        found = [
            (place[1], place[2], place[3])
            for url in (response.location, answered.full_url)
            if url and (place := _PLACE.fullmatch(url)) is not None and ID.fullmatch(place[2])
        ]
        ids = {(kind, local) for kind, local, _ in found}
        if shown is not None:
            ids.add((shown.type, shown.local_id))
        if asked.public_id is not None:
            ids.add((asked.type, self._asked_id(asked.public_id)))
        if len(ids) != 1 or (kept := ids.pop())[0] != asked.type:
            raise _invalid(self.origin)
        return kept[1], next((version for _, _, version in found if version), None)

    def _asked_id(self, whole: str) -> str:
        return self.aliases.get(whole) or whole.removeprefix(f"{self.origin.slug}.")

    def _who(self) -> Mapping[str, str]:
        return {"slug": self.origin.slug, "name": self.origin.name, "region": self.origin.region}


def _version(response: _Response, shown: Entry | None) -> str | None:
    stated = _ETAG.fullmatch(response.etag) if response.etag else None
    return stated[1] if stated is not None else shown.version_id if shown is not None else None


def write_transaction_answer(
    written: Sequence[WrittenEntry],
    public_base: str,
    *,
    return_: Return | None = None,
    warnings: Mapping[int, Sequence[Issue]] | None = None,
    language: Language = "fr",
) -> bytes:
    """The transaction-response for the client, in JSON. `return_`: None is a representation, as FHIR has it.

    `warnings`, by index of the entry, and the manager's remarks are the entry's `response.outcome`; asked for an
    OperationOutcome, every entry has one.
    """
    entries = []
    for one in written:
        address = f"{public_base.rstrip('/')}/{one.reference}"
        told = [*(warnings or {}).get(one.index, ()), *one.remarks]
        if return_ is Return.OPERATION_OUTCOME:
            told.insert(0, Issue("write.stored"))
        response: dict[str, Any] = {
            "status": one.status,
            "location": address + (f"/_history/{one.version_id}" if one.version_id else ""),
            "etag": one.etag,
            "lastModified": one.last_modified,
            "outcome": outcome(told, language=language) if told else None,
        }
        shown = one.resource.raw if one.resource is not None and _is_shown(return_) else None
        entries.append(_entry(address, shown, {name: value for name, value in response.items() if value}))
    return b'{"resourceType":"Bundle","type":"transaction-response","entry":[' + b",".join(entries) + b"]}"


def relayed_failure(body: bytes, manager: Gestionnaire, entries: int) -> list[Issue]:
    """Why a manager refused a transaction of so many entries of the client's: to be told as one OperationOutcome.

    That it failed, then the manager's own issues where its answer holds any. Places in entries that the client did
    not write are left out.
    """

    def is_clients(path: str) -> bool:
        index = entry_of(path)
        return index is not None and index < entries

    return [Issue("transaction.failed"), *refusals(body, manager, is_clients)]


def _is_shown(return_: Return | None) -> bool:
    return return_ in {None, Return.REPRESENTATION}


def _entry(address: str, resource: bytes | None, response: Mapping[str, Any]) -> bytes:
    shown = b"" if resource is None else b',"resource":' + resource
    return b'{"fullUrl":%b%b,"response":%b}' % (orjson.dumps(address), shown, orjson.dumps(response))


def _invalid(origin: Origin) -> ManagerError:
    region = REGIONS.get(origin.region, origin.region)
    return ManagerError(FailureKind.INVALID, slug=origin.slug, name=origin.name, region=region)
