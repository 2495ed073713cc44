"""The trail as people read it: who looked at what, when, why. Pure.

Raw queries may hold an identity: of these only the names of the criteria are told.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from broker.audit.sink import AuditPage, AuditQuery, AuditRecord
from broker.console.resource_words import Json, items, part, words
from broker.console.search_form import Fault
from broker.core.query_parser import shown

COUNT: Final = 50
NAMES: Final = frozenset({"since", "until", "client", "person", "after"})

_PERSON = re.compile(r"(?:https?://[^\s?#]{1,255}/)?Patient/[A-Za-z0-9\-.]{1,64}")
_BESIDE = re.compile(r"csrf|page|after|size|[a-z]+-(?:op|kind)")
"""Of the console's own forms, what is no criterion."""
_CLIENT = re.compile(r"[^\s\x00-\x1f]{1,200}")


@dataclass(frozen=True, slots=True)
class Read:
    """`query` is None where there are faults."""

    values: Mapping[str, str]
    query: AuditQuery | None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """`persons`, `resources`: public references without the broker's address. `criteria`: names alone."""

    number: int
    stream: str
    at: str
    client: str
    user: str
    address: str
    code: str
    outcome: str
    status: str
    persons: tuple[str, ...]
    resources: tuple[str, ...]
    managers: tuple[str, ...]
    criteria: tuple[str, ...]
    purpose: str
    request_id: str


def read(form: Mapping[str, str]) -> Read:
    """The form; instants are those of a `datetime-local` field, in UTC."""
    values = {name: text.strip() for name, text in form.items() if name in NAMES and text.strip()}
    faults: list[Fault] = []

    def instant(name: str) -> dt.datetime | None:
        if name not in values:
            return None
        try:
            at = dt.datetime.fromisoformat(values[name])
        except ValueError:
            faults.append(Fault(name, "audit.error.instant"))
            return None
        return at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)

    since, until = instant("since"), instant("until")
    if since is not None and until is not None and since > until:
        faults.append(Fault("until", "audit.error.order"))
    client, person = values.get("client"), values.get("person")
    if client is not None and _CLIENT.fullmatch(client) is None:
        faults.append(Fault("client", "audit.error.client"))
    if person is not None and _PERSON.fullmatch(person) is None:
        faults.append(Fault("person", "audit.error.person"))
    if faults:
        return Read(values, None, tuple(faults))
    query = AuditQuery(since, until, client, person, count=COUNT, after=values.get("after"))
    return Read(values, query)


def lines(page: AuditPage, public_base: str) -> list[Line]:
    return [_line(one, public_base) for one in page.records]


def _line(record: AuditRecord, public_base: str) -> Line:
    event, own = record.event, public_base.rstrip("/") + "/"
    agents = [one for one in items(event.get("agent")) if part(one, "network", "type") != "5"]
    users = [one for one in agents if _is_user(one)]
    client = next((one for one in agents if not _is_user(one)), {})
    entities = items(event.get("entity"))
    told = _details(entities)
    return Line(
        number=record.number,
        stream=record.stream,
        at=words(event.get("recorded")),
        client=words(part(client, "who", "identifier", "value")),
        user=next(
            (words(one.get("name")) or words(part(one, "who", "identifier", "value")) for one in users), ""
        ),
        address=words(part(client, "network", "address")),
        code=next((words(one.get("code")) for one in items(event.get("subtype"))), ""),
        outcome=words(event.get("outcome")),
        status=next(iter(told.get("status", ())), ""),
        persons=_references(entities, "1", own),
        resources=_references(entities, "2", own),
        managers=tuple(told.get("manager", ())),
        criteria=_criteria(entities),
        purpose=_purpose(event, agents),
        request_id=next(
            (found for one in entities if (found := words(part(one, "what", "identifier", "value")))), ""
        ),
    )


def _is_user(agent: Json) -> bool:
    """Of a user, and not of the software that asks for them."""
    codings = items(part(agent, "type", "coding"))
    return any(one.get("code") in ("IRCP", "AUT") for one in codings)


def _references(entities: list[Json], kind: str, own: str) -> tuple[str, ...]:
    found = [words(part(one, "what", "reference")) for one in entities if part(one, "type", "code") == kind]
    return tuple(one.removeprefix(own) for one in found if one)


def _details(entities: list[Json]) -> Mapping[str, list[str]]:
    told: dict[str, list[str]] = {}
    for entity in entities:
        for one in items(entity.get("detail")):
            told.setdefault(words(one.get("type")), []).append(words(one.get("valueString")))
    return told


def _criteria(entities: list[Json]) -> tuple[str, ...]:
    held = next((found for one in entities if (found := words(one.get("query")))), "")
    try:
        asked = base64.b64decode(held, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ()
    head, _, form = asked.partition("\n\n")
    query = head.partition("?")[2]
    try:
        pairs = parse_qsl(f"{query}&{form}", keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return ("…",)
    return tuple(dict.fromkeys(shown(name) for name, value in pairs if value and not _BESIDE.fullmatch(name)))


def _purpose(event: Json, agents: list[Json]) -> str:
    """Codes, of the event or of its agents."""
    stated = [event.get("purposeOfEvent"), *(one.get("purposeOfUse") for one in agents)]
    found = [
        words(coding.get("code"))
        for concepts in stated
        for concept in items(concepts)
        for coding in items(concept.get("coding"))
    ]
    return ", ".join(dict.fromkeys(filter(None, found)))
